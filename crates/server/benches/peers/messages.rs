//! The messages of peers that have a gRPC service of their own: the fields that are used here.

/// Of gubernator's `pb.gubernator.V1/GetRateLimits`.
pub(crate) mod gubernator {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct GetRateLimitsReq {
        #[prost(message, repeated, tag = "1")]
        pub(crate) requests: Vec<RateLimitReq>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct RateLimitReq {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(string, tag = "2")]
        pub(crate) unique_key: String,
        #[prost(int64, tag = "3")]
        pub(crate) hits: i64,
        #[prost(int64, tag = "4")]
        pub(crate) limit: i64,
        /// In milliseconds.
        #[prost(int64, tag = "5")]
        pub(crate) duration: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct GetRateLimitsResp {
        #[prost(message, repeated, tag = "1")]
        pub(crate) responses: Vec<RateLimitResp>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct RateLimitResp {
        /// 0 is below the limit, 1 above it.
        #[prost(int32, tag = "1")]
        pub(crate) status: i32,
        #[prost(string, tag = "5")]
        pub(crate) error: String,
    }
}

/// Of throttlecrab's `throttlecrab.RateLimiter/Throttle`.
pub(crate) mod throttlecrab {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ThrottleRequest {
        #[prost(string, tag = "1")]
        pub(crate) key: String,
        #[prost(int32, tag = "2")]
        pub(crate) max_burst: i32,
        #[prost(int32, tag = "3")]
        pub(crate) count_per_period: i32,
        /// In seconds.
        #[prost(int32, tag = "4")]
        pub(crate) period: i32,
        #[prost(int32, tag = "5")]
        pub(crate) quantity: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ThrottleResponse {
        #[prost(bool, tag = "1")]
        pub(crate) allowed: bool,
    }
}
