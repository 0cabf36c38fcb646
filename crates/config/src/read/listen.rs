//! `listen: { http: 0.0.0.0:8000, grpc: 0.0.0.0:8081 }`; `grpc: off` closes that port.

use std::net::SocketAddr;

use crate::{reader::Field, settings::Listen};

pub(super) fn read(listen: &Field<'_>) -> Option<Listen> {
    listen.table(|listen| {
        let http = address(&listen.field("http"));
        let grpc = listen.field("grpc");
        let grpc_address = if grpc.is_off() { Some(None) } else { address(&grpc).map(Some) };
        if let (Some(http), Some(Some(grpc_address))) = (http, grpc_address)
            && http == grpc_address
            && http.port() != 0
        {
            return grpc.refuse(format_args!(
                "`{http}` is already taken by listen.http: use another port"
            ));
        }
        Some(Listen { http: http?, grpc: grpc_address? })
    })
}

/// An address and a port.
pub(super) fn address(field: &Field<'_>) -> Option<SocketAddr> {
    field.parse_with(|text| {
        text.parse().map_err(|_| format!("`{text}` is not an address and port: write `0.0.0.0:8000` for all interfaces, or `[::1]:8000`"))
    })
}
