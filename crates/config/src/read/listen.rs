//! `listen: { http: 0.0.0.0:8000, grpc: 0.0.0.0:8081 }`; `grpc: off` closes that port;
//! `any_path: off` leaves the HTTP port with Sluice's own paths.

use std::time::Duration;

use super::{
    address::{address, collide},
    tls,
};
use crate::{
    error::Refused,
    files::Files,
    reader::{Field, Table},
    settings::{ConnectionLimits, Listen},
};

/// Shorter than any client needs.
const SHORTEST: Duration = Duration::from_millis(100);
/// Short enough to be added to an instant.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn read(listen: &Field<'_>, files: &Files) -> Result<Listen, Refused> {
    listen.table(|listen| {
        let http = listen.field("http");
        let http = http.needs_restart(address(&http));
        let grpc = listen.field("grpc");
        let grpc_address = if grpc.is_off() {
            Ok(None)
        } else {
            grpc.refuse_other_words_for_off().and_then(|()| address(&grpc)).map(Some)
        };
        let grpc_address = grpc.needs_restart(grpc_address);
        let any_path = listen.field("any_path");
        let any_path = any_path.needs_restart(any_path.switch());
        let limits = limits(listen);
        let tls = tls::read(&listen.field("tls"), files);
        if let (Ok(http), Ok(Some(grpc_address))) = (http, grpc_address)
            && collide(http, grpc_address)
        {
            return Err(grpc
                .refuse(format_args!("listen.http, `{http}`, takes this port: use another port")));
        }
        Ok(Listen {
            http: http?,
            grpc: grpc_address?,
            any_path: any_path?,
            limits: limits?,
            tls: tls?,
        })
    })
}

/// What bounds the connections of each port.
fn limits(listen: &Table<'_>) -> Result<ConnectionLimits, Refused> {
    let [max_connections, max_requests] = ["max_connections", "max_requests"].map(|name| {
        let field = listen.field(name);
        let count = field.integer(1..=1_000_000);
        field.needs_restart(count.map(|count| usize::try_from(count).unwrap_or(usize::MAX)))
    });
    let [head_timeout, write_timeout, idle_timeout] =
        ["head_timeout", "write_timeout", "idle_timeout"].map(|name| {
            let field = listen.field(name);
            field.needs_restart(field.duration(SHORTEST..=LONGEST))
        });
    let age = listen.field("max_connection_age");
    let age_or_off = if age.is_off() {
        Ok(None)
    } else {
        age.refuse_other_words_for_off().and_then(|()| age.duration(SHORTEST..=LONGEST)).map(Some)
    };
    let max_connection_age = age.needs_restart(age_or_off);
    Ok(ConnectionLimits {
        max_connections: max_connections?,
        max_requests: max_requests?,
        head_timeout: head_timeout?,
        write_timeout: write_timeout?,
        idle_timeout: idle_timeout?,
        max_connection_age: max_connection_age?,
    })
}
