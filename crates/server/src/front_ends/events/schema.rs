//! The schemas of events in `/openapi.json`.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ArrayBuilder, Discriminator, OneOfBuilder, Ref, Schema},
    },
};

use super::{MAX_EVENTS, wire};

/// An event of any type.
#[derive(Debug)]
pub(crate) struct Event;

/// One event, or several.
#[derive(Debug)]
pub(crate) struct Events;

impl PartialSchema for Event {
    fn schema() -> RefOr<Schema> {
        let names: Vec<(&str, String)> =
            wire::schemas().map(|(kind, _)| (kind, schema_name(kind))).collect();
        let one_of = names.iter().fold(OneOfBuilder::new(), |one_of, (_, name)| {
            one_of.item(Ref::from_schema_name(name))
        });
        let mapping =
            names.iter().map(|(kind, name)| (*kind, Ref::from_schema_name(name).ref_location));
        one_of
            .description(Some(
                "An event that an application reports. `type` is the type of the event.",
            ))
            .discriminator(Some(Discriminator::with_mapping("type", mapping)))
            .into()
    }
}

impl ToSchema for Event {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.extend(wire::schemas().map(|(kind, schema)| (schema_name(kind), RefOr::T(schema))));
        wire::add_parts(schemas);
    }
}

impl PartialSchema for Events {
    fn schema() -> RefOr<Schema> {
        let event = || Ref::from_schema_name(Event::name());
        let several = ArrayBuilder::new().items(event()).max_items(Some(MAX_EVENTS));
        OneOfBuilder::new()
            .item(event())
            .item(several)
            .description(Some("One event, or several."))
            .into()
    }
}

impl ToSchema for Events {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Event::name().into_owned(), Event::schema()));
        Event::schemas(schemas);
    }
}

/// Returns the schema's name: `LlmRequestEvent` for `llm_request`.
fn schema_name(kind: &str) -> String {
    let words = kind.split('_').map(|word| word[..1].to_ascii_uppercase() + &word[1..]);
    words.chain(["Event".to_owned()]).collect()
}
