//! The schemas that operations refer to by name.

use std::collections::BTreeMap;

use utoipa::{
    ToSchema,
    openapi::{
        RefOr,
        schema::{Ref, Schema},
    },
};

/// Collects the schemas that are referred to.
#[derive(Default)]
pub(crate) struct Schemas {
    by_name: BTreeMap<String, RefOr<Schema>>,
}

impl Schemas {
    /// Returns a reference to the schema of `T`, and keeps the schema with all that it refers to.
    pub(crate) fn refer<T: ToSchema>(&mut self) -> Ref {
        let mut found = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut found);
        for (name, schema) in found {
            let known = self.by_name.get(&name);
            debug_assert!(
                known.is_none_or(|known| *known == schema),
                "two types have schemas called {name}"
            );
            self.by_name.insert(name, schema);
        }
        Ref::from_schema_name(T::name())
    }

    /// Returns all schemas with their names.
    pub(crate) fn into_named(self) -> impl Iterator<Item = (String, RefOr<Schema>)> {
        self.by_name.into_iter()
    }
}
