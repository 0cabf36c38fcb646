//! `listen: { http: 0.0.0.0:8000, grpc: 0.0.0.0:8081 }`; `grpc: off` closes that port.

use std::net::SocketAddr;

use crate::{error::Refused, reader::Field, settings::Listen};

pub(super) fn read(listen: &Field<'_>) -> Result<Listen, Refused> {
    listen.table(|listen| {
        let http = listen.field("http");
        let http = http.needs_restart(address(&http));
        let grpc = listen.field("grpc");
        let grpc_address = if grpc.is_off() { Ok(None) } else { address(&grpc).map(Some) };
        let grpc_address = grpc.needs_restart(grpc_address);
        if let (Ok(http), Ok(Some(grpc_address))) = (http, grpc_address)
            && http == grpc_address
            && http.port() != 0
        {
            return Err(grpc.refuse(format_args!(
                "`{http}` is already taken by listen.http: use another port"
            )));
        }
        Ok(Listen { http: http?, grpc: grpc_address? })
    })
}

/// An address and a port.
pub(super) fn address(field: &Field<'_>) -> Result<SocketAddr, Refused> {
    field.parse_with(|text| {
        text.parse().map_err(|_| {
            format!(
                "`{text}` is not an address and port: write `0.0.0.0:8000` for all interfaces, \
                 or `[::1]:8000`"
            )
        })
    })
}
