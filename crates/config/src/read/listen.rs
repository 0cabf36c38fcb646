//! `listen: { http: 0.0.0.0:8000, grpc: 0.0.0.0:8081 }`; `grpc: off` closes that port.

use super::address::{address, collide};
use crate::{error::Refused, reader::Field, settings::Listen};

pub(super) fn read(listen: &Field<'_>) -> Result<Listen, Refused> {
    listen.table(|listen| {
        let http = listen.field("http");
        let http = http.needs_restart(address(&http));
        let grpc = listen.field("grpc");
        let grpc_address = if grpc.is_off() { Ok(None) } else { address(&grpc).map(Some) };
        let grpc_address = grpc.needs_restart(grpc_address);
        if let (Ok(http), Ok(Some(grpc_address))) = (http, grpc_address)
            && collide(http, grpc_address)
        {
            return Err(grpc
                .refuse(format_args!("listen.http, `{http}`, takes this port: use another port")));
        }
        Ok(Listen { http: http?, grpc: grpc_address? })
    })
}
