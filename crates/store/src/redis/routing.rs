//! The way of a check to the servers of a cluster that have its buckets.

use std::{pin::Pin, slice, sync::Arc, time::Duration};

use sluice_core::{Check, Decision, Part, Partition, Source};
use tokio::time::sleep;

use super::{
    cluster::{Cluster, Server},
    error_meaning::Redirect,
    job::{Answer, Manner, Miss},
    node::Node,
};
use crate::{Clock, MonotonicClock, StoreError, StoreFuture, join_all::join_all, spanning};

/// How often a check is sent. A slot that is being moved needs three: gathered, alone, and to the
/// other server; a failover in between needs two more.
const MOST_SENT: usize = 8;
/// How long a check of one bucket waits that a server asks to send again.
const AGAIN_AFTER: Duration = Duration::from_millis(3);

pub(super) type Decided = Result<Decision, StoreError>;
/// A check on its way through a cluster.
pub(super) type Deciding = Pin<Box<dyn Future<Output = Decided> + Send>>;

/// The error of a check that the servers send from one to the other.
#[derive(Debug, thiserror::Error)]
#[error("the servers of the cluster redirected the call {MOST_SENT} times")]
struct RedirectedForEver;

/// Decides a check. Buckets in several partitions are decided one partition after the other.
pub(super) fn decide(cluster: Arc<Cluster<Node>>, check: Check) -> Deciding {
    Box::pin(async move {
        match spanning::split(&check, |part| part.tag.partition()) {
            None => decide_together(cluster, check).await,
            Some(groups) => {
                let decide = move |_: &Partition, group| {
                    StoreFuture::Pending(decide(Arc::clone(&cluster), group))
                };
                spanning::decide_in_order(&check, groups, decide).await
            }
        }
    })
}

/// Decides several checks. Those that are in one partition each are sent together; one that is not
/// waits for those before it, and those behind it wait for it.
pub(super) async fn decide_all(cluster: &Arc<Cluster<Node>>, checks: &[Check]) -> Vec<Decided> {
    let mut decided = Vec::with_capacity(checks.len());
    let mut rest = checks;
    while let Some((first, behind)) = rest.split_first() {
        let together = rest.iter().take_while(|check| partition_of(check).is_some()).count();
        if together == 0 {
            decided.push(decide(Arc::clone(cluster), first.clone()).await);
            rest = behind;
        } else {
            let (some, others) = rest.split_at(together);
            decided.append(&mut send_all(cluster, some).await);
            rest = others;
        }
    }
    decided
}

/// Returns the partition of all buckets of a check; `None` if they are in several, or there are
/// none.
fn partition_of(check: &Check) -> Option<Partition> {
    let (first, rest) = check.parts().split_first()?;
    let partition = first.tag.partition();
    rest.iter().all(|part| part.tag.partition() == partition).then_some(partition)
}

/// Sends checks, each in one partition, to their servers, and those that are redirected on from
/// there.
async fn send_all(cluster: &Arc<Cluster<Node>>, checks: &[Check]) -> Vec<Decided> {
    let mut results: Vec<Option<Decided>> = checks.iter().map(|_| None).collect();
    let mut of_servers: Vec<(Arc<Server<Node>>, Vec<usize>)> = Vec::new();
    for (index, check) in checks.iter().enumerate() {
        let Some(partition) = partition_of(check) else { continue };
        match cluster.server(partition).await {
            Ok(server) => {
                match of_servers.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &server)) {
                    Some((_, indices)) => indices.push(index),
                    None => of_servers.push((server, vec![index])),
                }
            }
            Err(error) => results[index] = Some(Err(error)),
        }
    }
    let sent = of_servers.iter().map(|(server, indices)| {
        let checks: Vec<Check> = indices.iter().map(|&index| checks[index].clone()).collect();
        StoreFuture::pending(server.kept.lanes.decide_all(&checks))
    });
    let answers = join_all(sent.collect::<Vec<_>>()).await;
    let mut redirected = Vec::new();
    for ((server, indices), answers) in of_servers.iter().zip(answers) {
        for (&index, answer) in indices.iter().zip(answers) {
            match answer {
                Ok(decision) => results[index] = Some(Ok(decision)),
                Err(Miss::Failed(error)) => results[index] = Some(Err(error)),
                Err(Miss::Redirected(redirect)) => {
                    let sending = Sending::new(cluster, server, checks[index].clone());
                    redirected.push((index, StoreFuture::pending(sending.redirected(redirect))));
                }
            }
        }
    }
    let (indices, futures): (Vec<usize>, Vec<_>) = redirected.into_iter().unzip();
    for (index, result) in indices.into_iter().zip(join_all(futures).await) {
        results[index] = Some(result);
    }
    let missing = || Err(StoreError::unreadable("a check has no answer"));
    results.into_iter().map(|result| result.unwrap_or_else(missing)).collect()
}

/// Decides a check whose buckets are in one partition.
async fn decide_together(cluster: Arc<Cluster<Node>>, check: Check) -> Decided {
    let Some(partition) = partition_of(&check) else { return Ok(nothing(&check)) };
    let server = cluster.server(partition).await?;
    Sending::new(&cluster, &server, check).send().await
}

/// A check on its way from one server to the next.
struct Sending {
    cluster: Arc<Cluster<Node>>,
    server: Arc<Server<Node>>,
    check: Check,
    manner: Manner,
}

impl Sending {
    fn new(cluster: &Arc<Cluster<Node>>, server: &Arc<Server<Node>>, check: Check) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            server: Arc::clone(server),
            check,
            manner: Manner::Gathered,
        }
    }

    async fn send(self) -> Decided {
        match self.ask().await {
            Ok(decision) => Ok(decision),
            Err(Miss::Failed(error)) => Err(error),
            Err(Miss::Redirected(redirect)) => self.redirected(redirect).await,
        }
    }

    /// Goes on behind a first redirection.
    async fn redirected(mut self, mut redirect: Redirect) -> Decided {
        for _ in 1..MOST_SENT {
            if redirect == Redirect::TryAgain && self.manner != Manner::Gathered {
                if self.check.hold().is_some() {
                    // Bucket by bucket, its record would not be written together with them.
                    return Err(StoreError::NoHolds { why: "their slot of the cluster is moving" });
                }
                if self.check.parts().len() > 1 {
                    return self.send_apart().await;
                }
                sleep(AGAIN_AFTER).await;
            }
            self.follow(&redirect)?;
            redirect = match self.ask().await {
                Ok(decision) => return Ok(decision),
                Err(Miss::Failed(error)) => return Err(error),
                Err(Miss::Redirected(redirect)) => redirect,
            };
        }
        Err(StoreError::refused(RedirectedForEver))
    }

    async fn ask(&self) -> Answer {
        let checks = slice::from_ref(&self.check);
        let mut answers = self.server.kept.lanes.decide(checks, self.manner).await;
        answers.pop().expect("one check has one answer")
    }

    /// Decides where to send the check next.
    ///
    /// A call with keys of a slot that is being moved is refused if one of them has been moved, or
    /// is new. Only the keys of this check say where it has to go, so it is sent alone first.
    fn follow(&mut self, redirect: &Redirect) -> Result<(), StoreError> {
        match (redirect, self.manner) {
            (Redirect::Moved(to), _) => {
                self.server = self.cluster.redirected(to, &self.server.address)?;
                if let Some(partition) = partition_of(&self.check) {
                    self.cluster.has_moved(partition, &self.server);
                }
                self.manner = Manner::Gathered;
            }
            (Redirect::Ask(_) | Redirect::TryAgain, Manner::Gathered) => {
                self.manner = Manner::Alone;
            }
            (Redirect::Ask(to), _) => {
                self.server = self.cluster.redirected(to, &self.server.address)?;
                self.manner = Manner::Asking;
            }
            (Redirect::TryAgain, _) => {}
        }
        Ok(())
    }

    /// Decides a check of which each server has some buckets, bucket after bucket.
    async fn send_apart(self) -> Decided {
        let groups = spanning::split(&self.check, Part::bucket);
        let groups = groups.expect("the buckets of a check are different");
        let cluster = self.cluster;
        let decide = move |_: &_, group| StoreFuture::Pending(decide(Arc::clone(&cluster), group));
        spanning::decide_in_order(&self.check, groups, decide).await
    }
}

/// Decides a check without parts, which no server has anything to say about.
pub(super) fn nothing(check: &Check) -> Decision {
    check.decide(&mut [], MonotonicClock::new().now(), Source::Store)
}
