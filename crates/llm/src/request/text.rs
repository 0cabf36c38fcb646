//! How much text a request has.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What a model gets to read, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Input {
    /// Bytes of text.
    pub(super) text_bytes: u64,
    /// Tokens that are given by their numbers instead of text.
    pub(super) token_ids: u64,
    pub(super) messages: u64,
    /// Images, sound, video and files.
    pub(super) media: u64,
    /// Texts of which each is answered by itself.
    pub(super) prompts: u64,
}

/// Counts one value of a body into `input`, without keeping any of it.
pub(super) struct Counter<'i> {
    pub(super) input: &'i mut Input,
    pub(super) place: Place,
}

/// Where in a request a value stands. Only there does a key such as `image_url` mean an image:
/// elsewhere, as in the arguments of a tool, a client may name its keys as it likes, and may not
/// hide text from the count by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A list of messages.
    Messages,
    /// A message, or another item of a list of messages.
    Message,
    /// A text, or a list of parts.
    Content,
    /// A part of a content: a text, an image, the result of a tool.
    Part,
    /// Where Anthropic's images and documents come from. The type says whether it is a text.
    Source,
    /// A text, token numbers, or a list of either.
    Prompts,
}

impl Counter<'_> {
    fn at(&mut self, place: Place) -> Counter<'_> {
        Counter { input: self.input, place }
    }

    fn message<'de, A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match key {
                Key::Ignored => skip(&mut map)?,
                Key::Content => map.next_value_seed(self.at(Place::Content))?,
                // A picture that the model made before, which comes back as data.
                Key::Result => self.input.media += u64::from(is_there(&mut map)?),
                _ => self.json(&mut map)?,
            }
        }
        Ok(())
    }

    fn part<'de, A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut has_media = false;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match key {
                Key::Ignored => skip(&mut map)?,
                Key::Content => map.next_value_seed(self.at(Place::Content))?,
                Key::Text => map.next_value_seed(self.at(Place::Part))?,
                Key::Source => map.next_value_seed(self.at(Place::Source))?,
                Key::Media => has_media |= is_there(&mut map)?,
                _ => self.json(&mut map)?,
            }
        }
        self.input.media += u64::from(has_media);
        Ok(())
    }

    fn source<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut inner, mut is_data) = (Input::default(), false);
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match key {
                Key::Ignored => is_data |= map.next_value_seed(IsData)?,
                Key::Content => {
                    map.next_value_seed(Counter { input: &mut inner, place: Place::Content })?;
                }
                _ => Counter { input: &mut inner, place: Place::Part }.json(&mut map)?,
            }
        }
        if is_data {
            self.input.media += 1;
        } else {
            self.input.text_bytes += inner.text_bytes;
            self.input.media += inner.media;
        }
        Ok(())
    }

    /// Counts a value by the length that it has in the body, which is at least that of its text.
    fn json<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<(), A::Error> {
        if let Some(raw) = map.next_value::<Option<&RawValue>>()? {
            self.input.text_bytes += raw.get().len() as u64;
        }
        Ok(())
    }
}

/// Reads a value whose length in the body counts.
pub(super) fn json_length<'de, A: MapAccess<'de>>(map: &mut A) -> Result<u64, A::Error> {
    Ok(map.next_value::<Option<&RawValue>>()?.map_or(0, |raw| raw.get().len() as u64))
}

fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// Skips a value, and returns whether it is anything but `null`.
fn is_there<'de, A: MapAccess<'de>>(map: &mut A) -> Result<bool, A::Error> {
    map.next_value::<Option<IgnoredAny>>().map(|value| value.is_some())
}

impl<'de> DeserializeSeed<'de> for Counter<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counter<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.input.text_bytes += text.len() as u64;
        self.input.messages += u64::from(self.place == Place::Messages);
        self.input.prompts += u64::from(self.place == Place::Prompts);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let place = match self.place {
            Place::Messages => Place::Message,
            Place::Content | Place::Message | Place::Part | Place::Source => Place::Part,
            Place::Prompts => Place::Prompts,
        };
        let Input { token_ids, prompts, .. } = *self.input;
        while items.next_element_seed(self.at(place))?.is_some() {
            self.input.messages += u64::from(place == Place::Message);
        }
        // Token numbers are one prompt; a list of texts, or of such lists, is one for each.
        if self.input.token_ids > token_ids && self.input.prompts == prompts {
            self.input.prompts += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        match self.place {
            Place::Messages => {
                self.input.messages += 1;
                self.message(map)
            }
            Place::Message => self.message(map),
            Place::Content | Place::Part | Place::Prompts => self.part(map),
            Place::Source => self.source(map),
        }
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.input.token_ids += 1;
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.input.token_ids += 1;
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.input.token_ids += 1;
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key of a message or a part, as far as it matters.
enum Key {
    /// A word of the wire format, not of the client: the 8 tokens of a message are for these.
    Ignored,
    Content,
    Text,
    Source,
    Media,
    Result,
    Other,
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "type" | "role" | "cache_control" => Key::Ignored,
            // Messages of most vendors; messages of Gemini; results of tools.
            "content" | "parts" | "output" => Key::Content,
            "text" | "thinking" | "refusal" => Key::Text,
            "source" => Key::Source,
            "image_url" | "input_audio" | "audio_url" | "video_url" | "file" | "file_id"
            | "file_url" | "file_data" | "inlineData" | "inline_data" | "fileData" => Key::Media,
            "result" => Key::Result,
            _ => Key::Other,
        })
    }
}

/// Whether the type of a source says that it holds data instead of text.
struct IsData;

impl<'de> DeserializeSeed<'de> for IsData {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?;
        Ok(matches!(raw.get(), r#""base64""# | r#""url""# | r#""file""#))
    }
}
