//! The places of a document that matter.

/// A place in a document, and the places below it.
#[derive(Debug)]
pub(crate) struct Node<F: 'static> {
    /// What the place is called in reports; without it, only places below are reported.
    pub(crate) field: Option<F>,
    /// The values of an object by key.
    pub(crate) keys: &'static [(&'static str, &'static Node<F>)],
    /// Each element of an array.
    pub(crate) items: Option<&'static Node<F>>,
}

impl<F> Node<F> {
    /// A place without places below it.
    pub(crate) const fn leaf(field: F) -> Self {
        Self { field: Some(field), keys: &[], items: None }
    }

    /// An object of which only places below are reported.
    pub(crate) const fn object(keys: &'static [(&'static str, &'static Self)]) -> Self {
        Self { field: None, keys, items: None }
    }

    /// An array of which only the elements are reported.
    pub(crate) const fn array(items: &'static Self) -> Self {
        Self { field: None, keys: &[], items: Some(items) }
    }

    /// The same place, reported under this name too.
    pub(crate) const fn called(mut self, field: F) -> Self
    where
        F: Copy,
    {
        self.field = Some(field);
        self
    }

    pub(crate) fn at_key(&self, key: &[u8]) -> Option<&'static Self> {
        self.keys.iter().find(|(name, _)| name.as_bytes() == key).map(|(_, node)| *node)
    }
}
