//! How long the answers of models are, as this process has seen them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sluice_llm::{TypicalOutput, Wire};

/// The most models that are known. Another one takes the place of the one whose last answer is the
/// oldest: clients of a vendor that answers to any name cannot fill the memory.
const MAX_MODELS: usize = 1_000;

/// How long the answers of each model are. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct AnswerLengths {
    shared: Arc<Mutex<Known>>,
}

/// A model on a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RoutedModel {
    /// The route's path or pattern.
    pub(super) route: Box<str>,
    pub(super) wire: Wire,
    pub(super) model: Box<str>,
}

#[derive(Debug, Default)]
struct Known {
    models: HashMap<RoutedModel, Answers>,
    /// How many answers there were of all models.
    answers: u64,
}

#[derive(Debug, Default)]
struct Answers {
    typical: TypicalOutput,
    /// The number of the last one.
    last: u64,
}

impl AnswerLengths {
    /// Learns that an answer of the model had so many tokens.
    pub(super) fn learn(&self, model: RoutedModel, tokens: u64) {
        let mut known = self.known();
        known.make_room_for(&model);
        known.answers += 1;
        let last = known.answers;
        let answers = known.models.entry(model).or_default();
        answers.last = last;
        answers.typical.learn(tokens);
    }

    /// Returns how many tokens an answer of the model may have, if enough of them were seen.
    pub(super) fn estimate(&self, model: &RoutedModel) -> Option<u64> {
        self.known().models.get(model)?.typical.estimate()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn make_room_for(&mut self, model: &RoutedModel) {
        if self.models.len() < MAX_MODELS || self.models.contains_key(model) {
            return;
        }
        let oldest = self.models.iter().min_by_key(|(_, answers)| answers.last);
        if let Some(oldest) = oldest.map(|(model, _)| model.clone()) {
            self.models.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(route: &str, name: &str) -> RoutedModel {
        RoutedModel { route: route.into(), wire: Wire::OpenAiChat, model: name.into() }
    }

    fn learn(lengths: &AnswerLengths, model: &RoutedModel, tokens: u64) {
        for _ in 0..20 {
            lengths.learn(model.clone(), tokens);
        }
    }

    #[test]
    fn each_model_is_learned_by_itself_on_each_route() {
        let lengths = AnswerLengths::default();
        learn(&lengths, &model("/a/**", "small"), 500);
        learn(&lengths, &model("/b/**", "small"), 5_000);
        assert_eq!(lengths.estimate(&model("/a/**", "small")), Some(512));
        assert_eq!(lengths.clone().estimate(&model("/b/**", "small")), Some(5_120));
        assert_eq!(lengths.estimate(&model("/a/**", "large")), None);
        let responses = RoutedModel { wire: Wire::OpenAiResponses, ..model("/a/**", "small") };
        assert_eq!(lengths.estimate(&responses), None);
    }

    #[test]
    fn invented_names_take_the_place_of_the_oldest_models() {
        let lengths = AnswerLengths::default();
        let (used, forgotten) = (model("/", "used"), model("/", "forgotten"));
        learn(&lengths, &forgotten, 500);
        for number in 0..2 * MAX_MODELS {
            learn(&lengths, &used, 500);
            lengths.learn(model("/", &format!("invented-{number}")), 1);
        }
        assert_eq!(lengths.known().models.len(), MAX_MODELS);
        assert_eq!(lengths.estimate(&used), Some(512));
        assert_eq!(lengths.estimate(&forgotten), None);
    }
}
