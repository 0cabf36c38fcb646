//! Writes the dashboards to the directory in the first argument.

use std::{env, error::Error, fs, path::PathBuf};

use sluice_dashboards::{dashboards, file_name, render};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or("the directory is missing; usage: sluice-dashboards DIRECTORY")?;
    fs::create_dir_all(&directory)?;
    for dashboard in dashboards() {
        fs::write(directory.join(file_name(&dashboard)), render(&dashboard))?;
    }
    Ok(())
}
