//! The log as JSON: one object a line, with the fields of an event beside its time and level.
//!
//! The formatter of `tracing_subscriber` would write of an error only its own message. The cause,
//! such as "connection refused", is often what the reader needs.

use std::{error::Error, fmt};

use serde::ser::{SerializeMap, Serializer as _};
use serde_json::Serializer;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use super::error_chain::error_chain;

/// Writes events as JSON.
#[derive(Debug)]
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut line = Vec::with_capacity(256);
        write_object(&mut line, &timestamp, event).map_err(|_| fmt::Error)?;
        writer.write_str(std::str::from_utf8(&line).map_err(|_| fmt::Error)?)?;
        writer.write_char('\n')
    }
}

fn write_object(
    line: &mut Vec<u8>,
    timestamp: &str,
    event: &Event<'_>,
) -> Result<(), serde_json::Error> {
    let mut serializer = Serializer::new(line);
    let mut object = serializer.serialize_map(None)?;
    object.serialize_entry("timestamp", timestamp)?;
    object.serialize_entry("level", event.metadata().level().as_str())?;
    let mut fields = Fields { object, result: Ok(()) };
    event.record(&mut fields);
    let Fields { mut object, result } = fields;
    result?;
    object.serialize_entry("target", event.metadata().target())?;
    object.end()
}

/// Adds the fields of an event to an object, until one fails.
struct Fields<M: SerializeMap> {
    object: M,
    result: Result<(), M::Error>,
}

impl<M: SerializeMap> Fields<M> {
    fn add<T: serde::Serialize + ?Sized>(&mut self, field: &Field, value: &T) {
        if self.result.is_ok() {
            self.result = self.object.serialize_entry(field.name(), value);
        }
    }
}

impl<M: SerializeMap> Visit for Fields<M> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.add(field, &error_chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use serde_json::{Value, json};
    use tracing::subscriber::with_default;
    use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt};

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no writer panicked").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Memory {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn logged(log: impl FnOnce()) -> Vec<Value> {
        let memory = Memory::default();
        let layer =
            tracing_subscriber::fmt::layer().event_format(JsonLines).with_writer(memory.clone());
        with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = memory.0.lock().expect("no writer panicked").clone();
        let text = String::from_utf8(bytes).expect("JSON is text");
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    #[test]
    fn a_line_holds_the_fields_with_their_types() {
        let lines = logged(|| {
            tracing::warn!(
                count = 3_u64,
                offset = -2_i64,
                ratio = 0.5,
                store = "a \"name\"\nin two lines",
                address = %std::net::Ipv4Addr::LOCALHOST,
                grace = ?std::time::Duration::from_secs(1),
                ready = false,
                absent = tracing::field::Empty,
                "the store is away"
            );
        });
        let [line] = &*lines else { panic!("{lines:?}") };
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
        let mut line = line.clone();
        line.as_object_mut().expect("a line is an object").remove("timestamp");
        assert_eq!(
            line,
            json!({
                "level": "WARN",
                "message": "the store is away",
                "count": 3,
                "offset": -2,
                "ratio": 0.5,
                "store": "a \"name\"\nin two lines",
                "address": "127.0.0.1",
                "grace": "1s",
                "ready": false,
                "target": module_path!(),
            })
        );
    }

    #[test]
    fn an_error_is_written_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("the store is not reachable")]
        struct Unreachable(#[source] io::Error);

        let lines = logged(|| {
            let error = Unreachable(io::Error::other("connection refused"));
            tracing::error!(error = &error as &dyn Error, "cannot decide");
        });
        assert_eq!(lines[0]["error"], "the store is not reachable: connection refused");
    }
}
