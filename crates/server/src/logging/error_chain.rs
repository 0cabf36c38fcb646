//! An error with its causes, in one line.

use std::error::Error;

/// Returns the messages of `error` and of its causes, separated by colons. A message that the one
/// before it ends with already is not repeated.
#[must_use]
pub fn error_chain(error: &dyn Error) -> String {
    let mut chain = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !chain.ends_with(&message) {
            chain.push_str(": ");
            chain.push_str(&message);
        }
        cause = error.source();
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    fn chain_of(texts: &[&'static str]) -> String {
        let layers =
            texts.iter().rev().fold(None, |source, text| Some(Box::new(Layer { text, source })));
        error_chain(&*layers.expect("there is at least one text"))
    }

    #[test]
    fn causes_follow_and_are_not_repeated() {
        assert_eq!(chain_of(&["cannot connect"]), "cannot connect");
        assert_eq!(
            chain_of(&["cannot connect", "the store: refused", "refused", "os error 111"]),
            "cannot connect: the store: refused: os error 111"
        );
    }
}
