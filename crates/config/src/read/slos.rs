//! `slos: [{ name: api, endpoint: /api/v1/**, objective: 99.9, window: 30d, latency: 500ms }]`.

use std::time::Duration;

use sluice_core::PathPattern;
use sluice_slo::{Indicator, MAX_SLOS, Slo, SloName, WINDOW_DAYS};
use sluice_telemetry::HTTP_DURATION_BOUNDARIES;

use crate::{
    error::Refused,
    reader::{Field, Table},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_LATENCY: Duration = Duration::from_secs(60 * 60);

pub(super) fn read(list: &Field<'_>) -> Result<Vec<Slo>, Refused> {
    list.or(Vec::new(), |list| {
        let mut known: Vec<(SloName, usize)> = Vec::new();
        let mut next_index = 0;
        let slos = list.items(|item| {
            let index = next_index;
            next_index += 1;
            let slo = item.table(slo)?;
            if let Some((name, first)) = known.iter().find(|(name, _)| *name == slo.name) {
                return Err(
                    item.refuse(format_args!("`{name}` is already slos[{first}]: keep one"))
                );
            }
            known.push((slo.name.clone(), index));
            Ok(slo)
        })?;
        if slos.len() > MAX_SLOS {
            return Err(list.refuse(format_args!(
                "{} objectives are too many: at most {MAX_SLOS} are possible",
                slos.len()
            )));
        }
        Ok(slos)
    })
}

fn slo(table: &Table<'_>) -> Result<Slo, Refused> {
    let name = table.field("name").required("write a name, as in `api`").and_then(|f| f.parse());
    let endpoint = table
        .field("endpoint")
        .required("write a path, as in `/api/v1/**`")
        .and_then(|field| field.parse_with(PathPattern::parse));
    let objective = table
        .field("objective")
        .required("write the percent of good requests, as in `99.9`")
        .and_then(|field| {
            let percent = field.number()?;
            percent.to_string().parse().map_err(|error| field.refuse(error))
        });
    let window = table
        .field("window")
        .required("write days, as in `30d`")
        .and_then(|field| window_days(&field));
    let indicator = table.field("latency").or(Indicator::Availability, |field| {
        let most = field.duration(Duration::from_micros(1)..=LONGEST_LATENCY)?;
        Indicator::latency(most, HTTP_DURATION_BOUNDARIES).map_err(|error| field.refuse(error))
    });
    let slo = Slo::new(name?, &endpoint?, objective?, window?);
    Ok(slo.with_indicator(indicator?))
}

fn window_days(field: &Field<'_>) -> Result<u32, Refused> {
    let window = field.duration(DAY * *WINDOW_DAYS.start()..=DAY * *WINDOW_DAYS.end())?;
    let days = window.as_secs() / DAY.as_secs();
    match u32::try_from(days) {
        Ok(days) if DAY * days == window => Ok(days),
        _ => Err(field.refuse("must be whole days, as in `30d`")),
    }
}
