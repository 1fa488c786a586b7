//! Which allocator's offers are good at present.
//!
//! Offers and the news of a new term come by different ways, so either may be first. An offer's id begins
//! with its leader's UUID: the first offer of another leader than before voids all earlier ones, whether the
//! term is known already or not.

use std::{collections::VecDeque, time::Duration};

use mesos_model::OfferId;
use tokio::time::Instant;

/// Leaders that are over and remembered.
const OVER_MAX: usize = 16;
/// News of a term that come this soon after the first offer of a leader are taken for that leader's.
const AHEAD: Duration = Duration::from_secs(2);

/// The leader that made an offer.
pub(super) fn leader_of(offer: &OfferId) -> &str {
    offer.as_str().rsplit_once('-').map_or(offer.as_str(), |(leader, _)| leader)
}

/// The leaders whose offers were seen.
#[derive(Debug, Default)]
pub(super) struct Leaders {
    present: Option<(String, Instant)>,
    over: VecDeque<String>,
}

/// What an offer tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing new.
    Present,
    /// It is late: its leader is over.
    Over,
    /// It is the first of its leader; all of the one before are void.
    New {
        /// The one before.
        before: Option<String>,
    },
}

impl Leaders {
    pub(super) fn offer(&mut self, offer: &OfferId) -> Seen {
        let leader = leader_of(offer);
        if self.present.as_ref().is_some_and(|(present, _)| present == leader) {
            return Seen::Present;
        }
        if self.over.iter().any(|over| over == leader) {
            return Seen::Over;
        }
        let before = self.present.replace((leader.to_owned(), Instant::now())).map(|(before, _)| before);
        if let Some(before) = &before {
            self.retire(before.clone());
        }
        Seen::New { before }
    }

    /// The leader whose offers are void now, if it is not known from offers already.
    pub(super) fn term_changed(&mut self) -> Option<String> {
        let (_, since) = self.present.as_ref()?;
        if since.elapsed() < AHEAD {
            return None;
        }
        let (leader, _) = self.present.take()?;
        self.retire(leader.clone());
        Some(leader)
    }

    fn retire(&mut self, leader: String) {
        self.over.push_back(leader);
        if self.over.len() > OVER_MAX {
            self.over.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn offers_of_a_new_term_are_not_voided_by_the_late_news_of_it() {
        let mut leaders = Leaders::default();
        assert_eq!(leaders.offer(&"a-O1".into()), Seen::New { before: None });
        assert_eq!(leaders.offer(&"a-O2".into()), Seen::Present);
        tokio::time::advance(AHEAD * 2).await;
        assert_eq!(leaders.offer(&"b-O0".into()), Seen::New { before: Some("a".into()) });
        assert_eq!(leaders.term_changed(), None);
        assert_eq!(leaders.offer(&"a-O3".into()), Seen::Over);
        tokio::time::advance(AHEAD * 2).await;
        assert_eq!(leaders.term_changed(), Some("b".into()));
        assert_eq!(leaders.offer(&"b-O1".into()), Seen::Over);
        assert_eq!(leaders.offer(&"c-O1".into()), Seen::New { before: None });
    }
}
