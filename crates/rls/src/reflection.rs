//! gRPC reflection: describes the messages and methods of the services to tools.

mod files;
#[cfg(test)]
mod tests;

use prost_types::FileDescriptorSet;
use tonic_reflection::server::{
    Builder,
    v1::{ServerReflection, ServerReflectionServer},
    v1alpha::{self, ServerReflectionServer as AlphaServer},
};

/// Returns the current version of the reflection service.
pub(crate) fn v1() -> ServerReflectionServer<impl ServerReflection> {
    builder().build_v1().expect("the descriptions of our services name all of their parts")
}

/// Returns the older version of the reflection service.
pub(crate) fn v1alpha() -> AlphaServer<impl v1alpha::ServerReflection> {
    builder().build_v1alpha().expect("the descriptions of our services name all of their parts")
}

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_file_descriptor_set(FileDescriptorSet { file: files::all() })
}
