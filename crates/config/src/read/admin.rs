//! `admin: { listen: 127.0.0.1:9000, basic: { user: prometheus, password_file: secrets/metrics },
//! bearer: { token_file: secrets/token } }`.

use std::net::SocketAddr;

use super::{
    address::{address, collide},
    secret, tls,
};
use crate::{
    error::Refused,
    files::Files,
    reader::{Field, Table},
    settings::{Admin, Credentials, Listen, Secret},
};

pub(super) fn read(
    admin: &Field<'_>,
    listen: Option<&Listen>,
    files: &Files,
) -> Result<Admin, Refused> {
    admin.or(Admin::default(), |admin| {
        admin.table(|admin| {
            let field = admin.field("listen");
            let address = field.needs_restart(field.optional(|field| own_address(field, listen)));
            let basic = admin
                .field("basic")
                .optional(|field| field.table(|basic| self::basic(basic, files)));
            let bearer = admin.field("bearer").optional(|field| {
                field.table(|bearer| required_secret(bearer, "token", "token_file", files))
            });
            let field = admin.field("tls");
            let tls = tls::read(&field, files).and_then(|tls| match (&tls, &address) {
                (Some(_), Ok(None)) => Err(field.refuse(
                    "only a port of its own has TLS of its own: set admin.listen, or use \
                     listen.tls",
                )),
                _ => Ok(tls),
            });
            Ok(Admin {
                listen: address?,
                tls: tls?,
                credentials: Credentials { basic: basic?, bearer: bearer? },
            })
        })
    })
}

/// An address that no other listener has.
fn own_address(field: &Field<'_>, listen: Option<&Listen>) -> Result<SocketAddr, Refused> {
    let address = address(field)?;
    let is_taken = |taken| collide(address, taken);
    let refuse = |by: &str, taken: SocketAddr| {
        field.refuse(format_args!("{by}, `{taken}`, takes this port: use another port"))
    };
    let Some(listen) = listen else { return Ok(address) };
    if is_taken(listen.http) {
        return Err(refuse("listen.http", listen.http));
    }
    match listen.grpc {
        Some(grpc) if is_taken(grpc) => Err(refuse("listen.grpc", grpc)),
        _ => Ok(address),
    }
}

fn basic(basic: &Table<'_>, files: &Files) -> Result<(Box<str>, Secret), Refused> {
    let user = basic.field("user").required("write the user's name").and_then(|field| {
        let user = field.text()?;
        if user.contains(':') {
            return Err(field.refuse("a user's name has no colon: choose another name"));
        }
        Ok(user)
    });
    let password = required_secret(basic, "password", "password_file", files);
    Ok((user?.into(), password?))
}

fn required_secret(
    table: &Table<'_>,
    name: &'static str,
    file_name: &'static str,
    files: &Files,
) -> Result<Secret, Refused> {
    secret::read(table, name, file_name, files)?.ok_or_else(|| {
        let remedy = format_args!("name a file that holds the secret, or write `{name}`");
        table.field(file_name).missing(remedy)
    })
}
