//! Turns a policy as it is written down into plans, and finds everything that is wrong with it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    bucket_id::{LimitKey, Subject, Tag},
    limit::{Algorithm, Limit, Mode},
    policy::{
        Policy,
        builder::{Endpoint, PolicyBuilder, Setting},
        endpoints::Endpoints,
        error::{LimitField, Location, PolicyError, PolicyFault, TierField},
        path,
        pattern::{self, PathPattern},
        plan::{Applied, Condition, HeaderCondition, Plan, PlannedCost, PlannedEndpoint, PlannedPer, PlannedRule},
        rule::{Per, Rule, RuleCost, Terms},
        tier::Tier,
    },
    request::MAX_CLIENT_BYTES,
};

/// The name of the default limit.
const DEFAULT: &str = "default";
/// The label of paths that no endpoint covers.
const OTHER: &str = "other";

/// Compiles `input`, or lists everything that is wrong with it.
pub(super) fn compile(input: &PolicyBuilder) -> Result<Policy, Vec<PolicyError>> {
    let mut compiler = Compiler { input, errors: Vec::new(), names: Vec::new(), limits: Vec::new(), labels: vec![OTHER.into()] };
    let policy = compiler.policy();
    if compiler.errors.is_empty() { Ok(policy) } else { Err(compiler.errors) }
}

struct Compiler<'i> {
    input: &'i PolicyBuilder,
    errors: Vec<PolicyError>,
    names: Vec<Name>,
    limits: Vec<Arc<Limit>>,
    labels: Vec<Arc<str>>,
}

/// A name that is taken.
struct Name {
    name: String,
    key: LimitKey,
    at: Location,
}

/// A limit as everyone has it.
struct Base {
    limit: Limit,
    index: usize,
}

/// An endpoint as everyone has it, or one tier.
struct BaseEndpoint {
    label: usize,
    base: Option<Base>,
    written: String,
}

struct BaseRule {
    when: Arc<Condition>,
    tiers: Vec<String>,
    per: PlannedPer,
    cost: PlannedCost,
    base: Base,
}

impl Compiler<'_> {
    fn policy(&mut self) -> Policy {
        let input = self.input;
        if !(1..=128).contains(&input.ipv6_prefix) {
            self.fault(Location::Ipv6Prefix, PolicyFault::Ipv6Prefix { bits: input.ipv6_prefix });
        }
        let default = self.default(&input.defaults, &Location::Defaults);
        let endpoints = self.endpoints(&input.endpoints, |path| Location::Endpoint { path });
        let exempt = self.exempt();
        let rules: Vec<BaseRule> = input.limits.iter().enumerate().filter_map(|(index, rule)| self.rule(index, rule)).collect();
        let everyone = Plan {
            tier: None,
            default: default.as_ref().map(Base::plain),
            endpoints: planned(&endpoints, Base::plain),
            rules: rules.iter().filter(|rule| rule.tiers.is_empty()).map(|rule| rule.planned(Base::plain)).collect(),
        };
        let mut plans = vec![everyone];
        for tier in &input.tiers {
            let plan = self.tier(tier, default.as_ref(), &endpoints, &rules);
            plans.push(plan);
        }
        let assigned = self.assigned();
        Policy {
            tagger: input.tagger.clone(),
            ipv6_prefix: input.ipv6_prefix,
            exempt,
            plans: plans.into(),
            assigned,
            limits: std::mem::take(&mut self.limits).into(),
            endpoints: std::mem::take(&mut self.labels).into(),
        }
    }

    fn fault(&mut self, at: Location, fault: impl Into<PolicyFault>) {
        self.errors.push(PolicyError { at, fault: fault.into() });
    }

    fn exempt(&mut self) -> Endpoints<usize> {
        let mut exempt = Endpoints::new();
        for (index, pattern) in self.input.exempt.iter().enumerate() {
            match pattern::endpoint(pattern) {
                Ok(path) => {
                    let label = self.label(&path::printable(&path));
                    exempt.insert(&path, label);
                }
                Err(error) => self.fault(Location::Exempt { index }, error),
            }
        }
        exempt
    }

    fn label(&mut self, label: &str) -> usize {
        self.labels.iter().position(|known| **known == *label).unwrap_or_else(|| {
            self.labels.push(label.into());
            self.labels.len() - 1
        })
    }

    fn default(&mut self, setting: &Setting, at: &Location) -> Option<Base> {
        let terms = on(setting)?;
        self.name(DEFAULT, at);
        self.base(DEFAULT, terms, at)
    }

    /// Endpoints by their path in normal form.
    fn endpoints(&mut self, list: &[Endpoint], at: impl Fn(String) -> Location) -> BTreeMap<String, BaseEndpoint> {
        let mut endpoints: BTreeMap<String, BaseEndpoint> = BTreeMap::new();
        for Endpoint { path: written, setting } in list {
            let at = at(written.clone());
            let path = match pattern::endpoint(written) {
                Ok(path) => path,
                Err(error) => {
                    self.fault(at, error);
                    continue;
                }
            };
            if let Some(first) = endpoints.get(&path) {
                let first = first.written.clone();
                self.fault(at, PolicyFault::DuplicatePath { first });
                continue;
            }
            let name = path::printable(&path);
            self.name(&name, &at);
            let base = on(setting).and_then(|terms| self.base(&name, terms, &at));
            let label = self.label(&name);
            endpoints.insert(path, BaseEndpoint { label, base, written: written.clone() });
        }
        endpoints
    }

    /// Takes a name, which a tier may share with everyone for a limit of the same kind.
    fn name(&mut self, name: &str, at: &Location) {
        let key = LimitKey::of(name);
        let Some(known) = self.names.iter().find(|known| known.key == key) else {
            self.names.push(Name { name: name.to_owned(), key, at: at.clone() });
            return;
        };
        let first = known.at.clone();
        if known.name != name {
            let other = known.name.clone();
            self.fault(at.clone(), PolicyFault::CollidingKeys { name: name.to_owned(), other, first });
        } else if !same_limit(&first, at) {
            self.fault(at.clone(), PolicyFault::DuplicateName { name: name.to_owned(), first });
        }
    }

    /// The limit of these terms, with its place in the list of limits.
    fn base(&mut self, name: &str, terms: &Terms, at: &Location) -> Option<Base> {
        let limit = match Limit::new(name, terms.algorithm) {
            Ok(limit) => limit,
            Err(error) => {
                self.fault(at.clone(), error);
                return None;
            }
        };
        let limit = limit.with_mode(terms.mode).with_precision(terms.precision).with_on_store_failure(terms.on_store_failure);
        let index = self.limits.iter().position(|known| known.name() == name).unwrap_or_else(|| {
            self.limits.push(Arc::new(limit.clone()));
            self.limits.len() - 1
        });
        Some(Base { limit, index })
    }

    fn rule(&mut self, index: usize, rule: &Rule) -> Option<BaseRule> {
        let at = |field| Location::Limit { index, field };
        self.name(&rule.name, &at(LimitField::Name));
        let when = self.condition(index, rule);
        let per = match &rule.per {
            Per::Client => PlannedPer::Client,
            Per::Address => PlannedPer::Address,
            Per::Header(name) => PlannedPer::Header(self.header(name, at(LimitField::Per))),
            Per::Everyone => PlannedPer::Everyone(self.input.tagger.tag(Subject::Everyone { limit: &rule.name })),
        };
        let Algorithm::TokenBucket(numbers) = rule.terms.algorithm;
        let cost = match &rule.cost {
            RuleCost::Request => PlannedCost::Request,
            RuleCost::Fixed(cost) => {
                if cost.tokens() > numbers.burst() {
                    let fault = PolicyFault::CostAboveBurst { cost: cost.tokens(), burst: numbers.burst() };
                    self.fault(at(LimitField::Cost), fault);
                }
                PlannedCost::Fixed(*cost)
            }
            RuleCost::Header(name) => PlannedCost::Header(self.header(name, at(LimitField::Cost))),
        };
        if rule.terms.mode == Mode::Off {
            return None;
        }
        let base = self.base(&rule.name, &rule.terms, &at(LimitField::Name))?;
        Some(BaseRule { when: Arc::new(when), tiers: rule.when.tiers.clone(), per, cost, base })
    }

    fn condition(&mut self, index: usize, rule: &Rule) -> Condition {
        let at = |field| Location::Limit { index, field };
        let when = &rule.when;
        let mut paths = Vec::new();
        for (entry, pattern) in when.paths.iter().enumerate() {
            match PathPattern::parse(pattern) {
                Ok(pattern) => paths.push(pattern),
                Err(error) => self.fault(at(LimitField::Path(entry)), error),
            }
        }
        for (entry, method) in when.methods.iter().enumerate() {
            if !is_token(method) {
                self.fault(at(LimitField::Method(entry)), PolicyFault::Method { method: method.clone() });
            }
        }
        let known: Vec<String> = self.input.tiers.iter().map(|tier| tier.name.clone()).collect();
        for (entry, name) in when.tiers.iter().enumerate().filter(|(_, name)| !known.contains(name)) {
            self.fault(at(LimitField::Tier(entry)), PolicyFault::UnknownTier { name: name.clone(), known: known.clone() });
        }
        let mut headers = Vec::new();
        for (entry, header) in when.headers.iter().enumerate() {
            let name = self.header(&header.name, at(LimitField::Header(entry)));
            headers.push(HeaderCondition { name, values: header.values.iter().map(|value| value.as_str().into()).collect() });
        }
        Condition {
            paths: paths.into(),
            methods: when.methods.iter().map(|method| method.as_str().into()).collect(),
            headers: headers.into(),
        }
    }

    fn header(&mut self, name: &str, at: Location) -> Box<str> {
        if !is_token(name) {
            self.fault(at, PolicyFault::HeaderName { name: name.to_owned() });
        }
        name.to_ascii_lowercase().into()
    }

    fn tier(&mut self, tier: &Tier, default: Option<&Base>, endpoints: &BTreeMap<String, BaseEndpoint>, rules: &[BaseRule]) -> Plan {
        let at = |field| Location::Tier { name: tier.name.clone(), field };
        if tier.name.is_empty() {
            self.fault(at(TierField::Name), PolicyFault::EmptyTierName);
        } else if self.input.tiers.iter().take_while(|other| !std::ptr::eq(*other, tier)).any(|other| other.name == tier.name) {
            self.fault(at(TierField::Name), PolicyFault::DuplicateTier);
        }
        if tier.multiply == 0 {
            self.fault(at(TierField::Multiply), PolicyFault::MultiplyByZero);
        }
        if tier.unlimited && (tier.multiply > 1 || tier.defaults.is_some() || !tier.endpoints.is_empty()) {
            self.fault(at(TierField::Unlimited), PolicyFault::UnlimitedWithNumbers);
        }
        let own_default = tier.defaults.as_ref().map(|setting| self.default(setting, &at(TierField::Defaults)));
        let own = self.endpoints(&tier.endpoints, |path| at(TierField::Endpoint(path)));
        let default = match &own_default {
            Some(own) => own.as_ref().map(Base::plain),
            None => default.and_then(|base| self.times(base, tier)),
        };
        let mut plan = Endpoints::new();
        for (path, BaseEndpoint { label, base, .. }) in endpoints.iter().filter(|(path, _)| !own.contains_key(*path)) {
            let applied = base.as_ref().and_then(|base| self.times(base, tier));
            plan.insert(path, PlannedEndpoint { label: *label, applied });
        }
        for (path, BaseEndpoint { label, base, .. }) in &own {
            plan.insert(path, PlannedEndpoint { label: *label, applied: base.as_ref().map(Base::plain) });
        }
        let mut planned = Vec::new();
        for rule in rules.iter().filter(|rule| rule.tiers.is_empty() || rule.tiers.contains(&tier.name)) {
            let applied = match rule.per {
                PlannedPer::Client => self.times(&rule.base, tier),
                PlannedPer::Address | PlannedPer::Header(_) | PlannedPer::Everyone(_) => Some(rule.base.plain()),
            };
            planned.extend(applied.map(|applied| rule.planned(|_| applied)));
        }
        Plan { tier: Some(tier.name.as_str().into()), default, endpoints: plan, rules: planned.into() }
    }

    /// A limit per client as `tier` has it; `None` when it has none.
    fn times(&mut self, base: &Base, tier: &Tier) -> Option<Applied> {
        if tier.unlimited {
            return None;
        }
        if tier.multiply <= 1 {
            return Some(base.plain());
        }
        match base.limit.numbers().times(tier.multiply) {
            Ok(numbers) => {
                let limit = base.limit.with_algorithm(Algorithm::TokenBucket(numbers));
                Some(Applied { limit: Arc::new(limit), index: base.index })
            }
            Err(source) => {
                let fault = PolicyFault::Multiply { limit: base.limit.name().to_owned(), factor: tier.multiply, source };
                self.fault(Location::Tier { name: tier.name.clone(), field: TierField::Multiply }, fault);
                None
            }
        }
    }

    /// The plan of each client that configuration gives a tier.
    fn assigned(&mut self) -> HashMap<Tag, usize> {
        let mut assigned: HashMap<Tag, (usize, Location)> = HashMap::new();
        for (place, tier) in self.input.tiers.iter().enumerate() {
            for (index, client) in tier.clients.iter().enumerate() {
                let at = Location::Tier { name: tier.name.clone(), field: TierField::Client(index) };
                if client.is_empty() || client.len() > MAX_CLIENT_BYTES {
                    self.fault(at, PolicyFault::ClientKey);
                    continue;
                }
                let tag = self.input.tagger.tag(Subject::Client(client));
                match assigned.get(&tag) {
                    Some((_, first)) => {
                        let first = first.clone();
                        self.fault(at, PolicyFault::DuplicateClient { first });
                    }
                    // The first plan is that of clients without a tier.
                    None => drop(assigned.insert(tag, (place + 1, at))),
                }
            }
        }
        assigned.into_iter().map(|(tag, (plan, _))| (tag, plan)).collect()
    }
}

impl Base {
    fn plain(&self) -> Applied {
        Applied { limit: Arc::new(self.limit.clone()), index: self.index }
    }
}

impl BaseRule {
    fn planned(&self, applied: impl FnOnce(&Base) -> Applied) -> PlannedRule {
        PlannedRule { when: Arc::clone(&self.when), per: self.per.clone(), cost: self.cost.clone(), applied: applied(&self.base) }
    }
}

fn planned(endpoints: &BTreeMap<String, BaseEndpoint>, applied: impl Fn(&Base) -> Applied) -> Endpoints<PlannedEndpoint> {
    let mut planned = Endpoints::new();
    for (path, BaseEndpoint { label, base, .. }) in endpoints {
        planned.insert(path, PlannedEndpoint { label: *label, applied: base.as_ref().map(&applied) });
    }
    planned
}

fn on(setting: &Setting) -> Option<&Terms> {
    match setting {
        Setting::Limit(terms) if terms.mode != Mode::Off => Some(terms),
        Setting::Limit(_) | Setting::Off => None,
    }
}

/// Whether both places speak of one limit: everyone's, and a tier's numbers for it.
fn same_limit(first: &Location, second: &Location) -> bool {
    let in_tier = |at: &Location| matches!(at, Location::Tier { .. });
    let default = |at: &Location| matches!(at, Location::Defaults | Location::Tier { field: TierField::Defaults, .. });
    let endpoint = |at: &Location| matches!(at, Location::Endpoint { .. } | Location::Tier { field: TierField::Endpoint(_), .. });
    in_tier(second) && ((default(first) && default(second)) || (endpoint(first) && endpoint(second)))
}

/// Whether `text` may name a header or a method (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
