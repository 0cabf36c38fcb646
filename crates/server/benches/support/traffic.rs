//! Which clients ask, and what they are told.

use std::fmt;

/// How many clients there are.
pub(crate) const CLIENTS: usize = 100_000;

/// How requests are spread over clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// One client makes all.
    Hot,
    /// All clients make as many.
    Uniform,
    /// The client of rank k makes a share that is proportional to 1 / k.
    Zipf,
}

/// What the limit is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No client ever reaches it.
    Admitted,
    /// It admits one request a day of each client.
    Denied,
}

impl Traffic {
    #[allow(dead_code, reason = "each benchmark has the whole module, and not all need every kind")]
    pub(crate) const ALL: [Self; 3] = [Self::Hot, Self::Uniform, Self::Zipf];

    /// Returns the client of a request, by its number. The same numbers give the same clients.
    pub(crate) fn client(self, number: usize) -> usize {
        match self {
            Self::Hot => 0,
            Self::Uniform => number.wrapping_mul(7_919) % CLIENTS,
            Self::Zipf => {
                // The inverse of the distribution function, at a point that is spread evenly.
                let golden = (number as f64 * 0.618_033_988_749_894_9).fract();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it is between 1 and the number of clients"
                )]
                let rank = (CLIENTS as f64).powf(golden) as usize;
                rank.saturating_sub(1).min(CLIENTS - 1)
            }
        }
    }

    /// Returns how many clients ask at all.
    pub(crate) const fn clients(self) -> usize {
        match self {
            Self::Hot => 1,
            Self::Uniform | Self::Zipf => CLIENTS,
        }
    }
}

impl Outcome {
    pub(crate) const ALL: [Self; 2] = [Self::Admitted, Self::Denied];
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hot => "one hot bucket",
            Self::Uniform => "uniform",
            Self::Zipf => "Zipf",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admitted => "admitted",
            Self::Denied => "denied",
        })
    }
}
