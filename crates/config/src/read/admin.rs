//! `admin: { listen: 127.0.0.1:9000, basic: { user: prometheus, password_file: secrets/metrics },
//! bearer: { token_file: secrets/token } }`.

use super::{listen::address, numbers::optional};
use crate::{
    files::Files,
    reader::{Field, Table},
    settings::{Admin, Credentials, Listen, Secret},
};

pub(super) fn read(admin: &Field<'_>, listen: Option<&Listen>, files: &Files) -> Option<Admin> {
    optional(admin, Some(Admin::default()), |admin| {
        admin.table(|admin| {
            let address = optional(&admin.field("listen"), Some(None), |field| {
                let address = address(field)?;
                let taken = |taken| address.port() != 0 && address == taken;
                match listen {
                    Some(listen) if taken(listen.http) => field.refuse(format_args!(
                        "`{address}` is already taken by listen.http: use another port"
                    )),
                    Some(listen) if listen.grpc.is_some_and(taken) => field.refuse(format_args!(
                        "`{address}` is already taken by listen.grpc: use another port"
                    )),
                    _ => Some(Some(address)),
                }
            });
            let basic = optional(&admin.field("basic"), Some(None), |field| {
                field.table(|basic| self::basic(basic, files)).map(Some)
            });
            let bearer = optional(&admin.field("bearer"), Some(None), |field| {
                field.table(|bearer| secret(bearer, "token", "token_file", files)).map(Some)
            });
            Some(Admin {
                listen: address?,
                credentials: Credentials { basic: basic?, bearer: bearer? },
            })
        })
    })
}

fn basic(basic: &Table<'_>, files: &Files) -> Option<(Box<str>, Secret)> {
    let user = basic.field("user").required("write the user's name").and_then(|field| {
        let user = field.text()?;
        if user.contains(':') {
            field.refuse("a user's name has no colon: it ends where the password begins")
        } else {
            Some(user)
        }
    });
    let password = secret(basic, "password", "password_file", files);
    Some((user?.into(), password?))
}

/// A secret, written here or in a file.
fn secret(
    table: &Table<'_>,
    name: &'static str,
    file_name: &'static str,
    files: &Files,
) -> Option<Secret> {
    let (written, file) = (table.field(name), table.field(file_name));
    match (written.is_said(), file.is_said()) {
        (true, true) => file.refuse(format_args!("`{name}` is set already: keep one of them")),
        (true, false) => written.text().map(Secret::new),
        (false, true) => match file
            .file(|path| files.read_secret(path))?
            .1
            .as_deref()
            .map(|text| text.trim_end_matches(['\r', '\n']))
        {
            Some("") => file.refuse("the file holds nothing: write the secret into it"),
            // Of a secret that is not read, it is enough that it is there.
            text => Some(Secret::new(text.unwrap_or_default())),
        },
        (false, false) => {
            file.missing(format_args!("name a file that holds it, or write `{name}`"))
        }
    }
}
