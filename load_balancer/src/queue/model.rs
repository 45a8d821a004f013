//! The line beside a plain list that is searched from end to end, and thousands that wait for one backend.

use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;
use tokio::task::LocalSet;

use super::line::{Line, Turn};
use super::*;

/// One who waits, in the model.
#[derive(Debug, Clone, Copy)]
struct Modelled {
    number: u64,
    since: u64,
    until: u64,
    latest: u64,
    is_told: bool,
}

/// What happens to a line; times in milliseconds, and who by place in the list.
#[derive(Debug, Clone, Copy)]
enum Step {
    Join { wait: u64, longest: u64 },
    Pass(u64),
    Tell,
    WaitAgain(usize),
    Leave(usize),
    Extend(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u64..100, 0_u64..300).prop_map(|(wait, more)| Step::Join { wait, longest: wait + more }),
        2 => (1_u64..60).prop_map(Step::Pass),
        4 => Just(Step::Tell),
        2 => (0_usize..20).prop_map(Step::WaitAgain),
        2 => (0_usize..20).prop_map(Step::Leave),
        1 => (1_u64..100).prop_map(Step::Extend),
    ];
    proptest::collection::vec(step, 1..80)
}

/// Tells, in the model, whose turn it is.
fn next(all: &[Modelled], now: u64) -> Option<usize> {
    let waits = |one: &&Modelled| !one.is_told;
    let oldest = all.iter().filter(waits).min_by_key(|one| one.number)?;
    let is_late = (now - oldest.since) * 2 > oldest.until - oldest.since;
    let turn = if is_late { all.iter().filter(waits).max_by_key(|one| one.number)? } else { oldest };
    all.iter().position(|one| one.number == turn.number)
}

proptest! {
    #[test]
    fn a_line_does_what_a_list_does_that_is_searched_from_end_to_end(steps in steps()) {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let (mut line, mut all, mut now) = (Line::default(), Vec::<Modelled>::new(), 0_u64);
        for step in steps {
            match step {
                Step::Join { wait, longest } => {
                    let number = line.join(at(now), at(now + wait), at(now + longest));
                    all.push(Modelled { number, since: now, until: now + wait, latest: now + longest, is_told: false });
                }
                Step::Pass(time) => {
                    now += time;
                    // Whose time is over leaves, as a ticket does.
                    all.retain(|one| one.until > now || { line.leave(one.number); false });
                }
                Step::Tell => {
                    let expected = next(&all, now);
                    prop_assert_eq!(line.tell_next(at(now)), expected.map(|index| all[index].number));
                    if let Some(index) = expected {
                        all[index].is_told = true;
                    }
                }
                Step::WaitAgain(index) => {
                    if let Some(one) = all.get_mut(index) {
                        line.wait_again(one.number);
                        one.is_told = false;
                    }
                }
                Step::Leave(index) => {
                    if index < all.len() {
                        let one = all.remove(index);
                        prop_assert_eq!(line.leave(one.number), one.is_told);
                    }
                }
                Step::Extend(wait) => {
                    line.extend(at(now), Duration::from_millis(wait));
                    for one in &mut all {
                        one.since = now;
                        one.until = one.until.max((now + wait).min(one.latest));
                    }
                }
            }
            prop_assert_eq!(line.len(), all.len());
            prop_assert_eq!(line.told(), all.iter().filter(|one| one.is_told).count());
            for one in &all {
                let expected =
                    if one.is_told { Turn::Told } else { Turn::Waits { until: at(one.until) } };
                prop_assert_eq!(line.turn_of(one.number), expected);
            }
        }
    }
}

/// A backend with places, as `Backend` counts them.
#[derive(Debug)]
struct Places {
    queue: Arc<Queue>,
    free: Cell<usize>,
    /// How often somebody looked for a place.
    looks: Cell<u32>,
    served: Cell<u32>,
}

impl Places {
    async fn serve(self: Rc<Self>, mut ticket: Ticket) {
        loop {
            if ticket.turn().await.is_err() {
                return;
            }
            self.looks.set(self.looks.get() + 1);
            if let Some(left) = self.free.get().checked_sub(1) {
                self.free.set(left);
                break;
            }
        }
        ticket.leave();
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.served.set(self.served.get() + 1);
        self.free.set(self.free.get() + 1);
        self.queue.tell_one();
    }
}

#[tokio::test(start_paused = true)]
async fn thousands_that_waited_out_an_outage_come_one_by_one_and_look_once_each() {
    let queue = Arc::<Queue>::default();
    let places = Rc::new(Places {
        queue: Arc::clone(&queue),
        free: Cell::new(0),
        looks: Cell::new(0),
        served: Cell::new(0),
    });
    let patience = Patience { wait: Duration::from_secs(3), longest: Duration::from_secs(4) };
    let local = LocalSet::new();
    local
        .run_until(async {
            for _ in 0..4096 {
                let ticket = queue.join(4096, patience).unwrap();
                tokio::task::spawn_local(Rc::clone(&places).serve(ticket));
            }
            tokio::time::sleep(Duration::from_millis(2990)).await;
            // The first backend is back, ten milliseconds before most would have given up.
            places.free.set(32);
            queue.extend(Duration::from_millis(500));
            // Probes and upkeep look again and again whether somebody can be told.
            while !queue.is_empty() {
                queue.tell(places.free.get());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        })
        .await;
    assert_eq!(places.served.get(), 4096);
    assert_eq!(places.looks.get(), 4096, "nobody is told of a place that another one gets");
}
