//! The compiled limits of one tier's clients.

use std::sync::Arc;

use crate::{
    algorithm::Algorithm,
    bucket_id::Tag,
    cost::Cost,
    counts::Metering,
    limit::Limit,
    part::Part,
    policy::{endpoints::Endpoints, pattern::PathPattern},
    request::{Attributes, RepeatedField, Request, RequestError},
};

/// The limits of the clients of one tier, or of clients without a tier.
#[derive(Debug)]
pub(super) struct Plan {
    /// The tier's name; `None` for clients without one.
    pub(super) tier: Option<Box<str>>,
    pub(super) default: Option<Applied>,
    pub(super) endpoints: Endpoints<PlannedEndpoint>,
    pub(super) rules: Box<[PlannedRule]>,
}

/// A limit with this tier's rate.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) limit: Arc<Limit>,
    /// The limit's index in [`Policy::limits`](crate::Policy::limits), the same in all tiers.
    pub(super) index: u32,
}

#[derive(Debug)]
pub(super) struct PlannedEndpoint {
    /// The index of its label in [`Policy::endpoints`](crate::Policy::endpoints).
    pub(super) label: usize,
    /// The limit; `None` when the path is not limited.
    pub(super) applied: Option<Applied>,
}

impl PlannedEndpoint {
    /// Returns whether the endpoint is in shadow mode. Then the limits that would apply without it
    /// are enforced.
    pub(super) fn is_shadow(&self) -> bool {
        self.applied.as_ref().is_some_and(|applied| !applied.limit.denies())
    }
}

#[derive(Debug)]
pub(super) struct PlannedRule {
    /// Shared by all tiers.
    pub(super) when: Arc<Condition>,
    pub(super) per: PlannedPer,
    pub(super) cost: PlannedCost,
    pub(super) applied: Applied,
}

/// When a general limit applies. Its tiers are not here, because only their plans hold the limit.
#[derive(Debug, Default)]
pub(super) struct Condition {
    pub(super) paths: Vec<PathPattern>,
    pub(super) methods: Vec<Box<str>>,
    pub(super) headers: Vec<HeaderCondition>,
}

#[derive(Debug)]
pub(super) struct HeaderCondition {
    /// The name in lower case.
    pub(super) name: Box<str>,
    /// The accepted values; any value when empty.
    pub(super) values: Box<[Box<str>]>,
}

#[derive(Clone, Debug)]
pub(super) enum PlannedPer {
    Client,
    Address,
    /// The value of the header with this name.
    Header(Box<str>),
    /// One bucket for all requests, with this tag.
    Everyone(Tag),
}

#[derive(Clone, Debug)]
pub(super) enum PlannedCost {
    Request,
    Fixed(Cost),
    Header(Box<str>),
}

impl Condition {
    /// Returns whether `request`, whose path in normal form is `path`, meets the condition.
    fn holds(&self, request: &Request<'_>, path: &str) -> Result<bool, RequestError> {
        let method =
            || self.methods.iter().any(|method| method.eq_ignore_ascii_case(request.method));
        let applies = (self.methods.is_empty() || method())
            && (self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.matches(path)));
        if !applies {
            return Ok(false);
        }
        for header in &self.headers {
            if !header.holds(request.attributes)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl HeaderCondition {
    /// Returns whether the request with these attributes has the header, with one of the values.
    pub(super) fn holds(&self, attributes: &dyn Attributes) -> Result<bool, RequestError> {
        let value = field(attributes, &self.name)?;
        Ok(value.is_some_and(|value| {
            self.values.is_empty() || self.values.iter().any(|wanted| wanted.as_bytes() == value)
        }))
    }
}

/// Reads the field `name` of a request.
fn field<'a>(attributes: &'a dyn Attributes, name: &str) -> Result<Option<&'a [u8]>, RequestError> {
    let ambiguous = |RepeatedField| RequestError::FieldAmbiguous { header: name.to_owned() };
    attributes.get(name).map_err(ambiguous)
}

impl Applied {
    /// Returns the part of a check that takes of the limit what `request` costs.
    pub(super) fn part_of(&self, tag: Tag, request: &Request<'_>) -> Part {
        match self.limit.metering() {
            // A request is one in flight, whatever it costs.
            None if self.has_slots() => self.part(tag, Cost::ONE).with_fixed_cost(),
            None => self.part(tag, request.cost),
            Some(Metering { counts, .. }) => {
                let cost = request.usage.and_then(|usage| counts.of(usage)).unwrap_or(Cost::NONE);
                self.part(tag, cost).with_fixed_cost()
            }
        }
    }

    /// Returns whether the limit, where it is a general one, applies in place of the default limit.
    /// One that counts what requests use, or those in flight, says nothing about how many there may
    /// be.
    pub(super) fn replaces_default(&self) -> bool {
        self.limit.denies() && self.limit.metering().is_none() && !self.has_slots()
    }

    /// Returns whether the limit can apply to `request`. Nobody would give back the slot of one
    /// that is not followed.
    pub(super) fn applies_to(&self, request: &Request<'_>) -> bool {
        request.is_followed || !self.has_slots()
    }

    /// Returns whether the limit is one of requests in flight.
    fn has_slots(&self) -> bool {
        matches!(self.limit.algorithm(), Algorithm::Concurrent(_))
    }

    fn part(&self, tag: Tag, cost: Cost) -> Part {
        Part::new(Arc::clone(&self.limit), tag, cost).at_policy_index(self.index)
    }
}

impl PlannedPer {
    /// Returns the value of the header that the limit is per, where it is per one.
    pub(super) fn header<'r>(
        &self,
        request: &Request<'r>,
    ) -> Result<Option<&'r [u8]>, RequestError> {
        match self {
            Self::Header(name) => field(request.attributes, name),
            Self::Client | Self::Address | Self::Everyone(_) => Ok(None),
        }
    }
}

impl PlannedRule {
    /// Returns the part of a check that takes of the limit what `request` costs; `None` when the
    /// limit does not apply. `tag` makes the tag of the bucket.
    ///
    /// A limit in shadow mode must not refuse a request: it does not apply to one that it cannot
    /// read.
    pub(super) fn applied_to(
        &self,
        request: &Request<'_>,
        path: &str,
        tag: impl FnOnce(&PlannedPer) -> Result<Option<Tag>, RequestError>,
    ) -> Result<Option<Part>, RequestError> {
        let part = || {
            if !self.applied.applies_to(request) || !self.when.holds(request, path)? {
                return Ok(None);
            }
            tag(&self.per)?.map(|tag| self.part(tag, request)).transpose()
        };
        match part() {
            Err(_) if !self.applied.limit.denies() => Ok(None),
            part => part,
        }
    }

    fn part(&self, tag: Tag, request: &Request<'_>) -> Result<Part, RequestError> {
        match &self.cost {
            PlannedCost::Request => Ok(self.applied.part_of(tag, request)),
            PlannedCost::Fixed(cost) => Ok(self.applied.part(tag, *cost).with_fixed_cost()),
            PlannedCost::Header(name) => match cost_in(request, name) {
                Ok(cost) => Ok(self.applied.part(tag, cost)),
                // A limit in shadow mode must not refuse a request, not even for an unreadable
                // cost.
                Err(_) if !self.applied.limit.denies() => Ok(self.applied.part_of(tag, request)),
                Err(error) => Err(error),
            },
        }
    }
}

/// Returns the cost in the header `name` of a request; without the header, the request's own.
fn cost_in(request: &Request<'_>, name: &str) -> Result<Cost, RequestError> {
    match field(request.attributes, name)? {
        None => Ok(request.cost),
        Some(value) => {
            read_cost(value).ok_or_else(|| RequestError::Cost { header: name.to_owned() })
        }
    }
}

fn read_cost(value: &[u8]) -> Option<Cost> {
    let value = value.trim_ascii();
    // `parse` would accept a sign too.
    let digits = value.iter().all(u8::is_ascii_digit);
    let tokens = std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()?;
    Cost::new(tokens).ok()
}
