use std::task::Wake;

use super::*;

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn poll(ticket: &mut Ticket) -> Poll<Result<(), Overloaded>> {
    let waker = Arc::new(Count(AtomicUsize::new(0))).into();
    ticket.poll_turn(&mut Context::from_waker(&waker))
}

const WAIT: Duration = Duration::from_millis(100);

const SHORT: Patience = Patience { wait: WAIT, longest: Duration::from_millis(300) };

fn join(queue: &Arc<Queue>, count: usize) -> Vec<Ticket> {
    (0..count).map(|_| queue.join(10, SHORT).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn first_come_first_served_until_the_oldest_is_late_then_the_newest() {
    let queue = Arc::<Queue>::default();
    let mut tickets = join(&queue, 4);
    queue.tell_one();
    assert!(poll(&mut tickets[0]).is_ready() && poll(&mut tickets[1]).is_pending());
    tickets.remove(0).leave();
    tokio::time::advance(WAIT * 6 / 10).await;
    queue.tell_one();
    assert!(poll(&mut tickets[0]).is_pending() && poll(&mut tickets[2]).is_ready());
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_in_number_and_in_time() {
    let queue = Arc::<Queue>::default();
    let mut first = queue.join(1, SHORT).unwrap();
    assert_eq!(queue.join(1, SHORT).unwrap_err(), Overloaded::QueueFull);
    assert_eq!(first.turn().await, Err(Overloaded::WaitedTooLong));
    drop(first);
    assert!(queue.is_empty() && queue.join(1, SHORT).is_ok());
}

#[tokio::test(start_paused = true)]
async fn as_many_are_told_as_there_are_places_less_those_on_their_way() {
    let queue = Arc::<Queue>::default();
    let mut tickets = join(&queue, 5);
    queue.tell(2);
    queue.tell(2);
    let told = |tickets: &mut Vec<Ticket>| {
        tickets.iter_mut().filter_map(|one| poll(one).is_ready().then_some(())).count()
    };
    assert_eq!(told(&mut tickets), 2, "two places, and two on their way to them");
    tickets.remove(0).leave();
    tickets.remove(0).leave();
    queue.tell(9);
    assert_eq!(told(&mut tickets), 3);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_extended_is_so_for_those_that_sleep_already_and_not_for_ever() {
    let queue = Arc::<Queue>::default();
    let mut ticket = queue.join(1, SHORT).unwrap();
    let began = Instant::now();
    let extended = async {
        for _ in 0..9 {
            tokio::time::sleep(WAIT / 2).await;
            queue.extend(WAIT);
        }
    };
    let (waited, ()) = tokio::join!(async { (ticket.turn().await, began.elapsed()) }, extended);
    assert_eq!(waited.0, Err(Overloaded::WaitedTooLong));
    assert!((300..303).contains(&waited.1.as_millis()), "{:?}", waited.1);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_without_a_place_passes_on_what_it_was_told() {
    let queue = Arc::<Queue>::default();
    let mut tickets = join(&queue, 3);
    queue.tell_one();
    // Told, and gone before it looked.
    drop(tickets.remove(0));
    assert!(poll(&mut tickets[0]).is_ready());
    // Told, looked, and gone before it used it.
    drop(tickets.remove(0));
    assert!(poll(&mut tickets[0]).is_ready());
    tickets.remove(0).leave();
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_was_told_and_finds_nothing_waits_again_and_keeps_its_turn() {
    let queue = Arc::<Queue>::default();
    let mut tickets = join(&queue, 2);
    queue.tell_one();
    assert!(poll(&mut tickets[0]).is_ready());
    assert!(poll(&mut tickets[0]).is_pending());
    queue.tell_one();
    assert!(poll(&mut tickets[0]).is_ready() && poll(&mut tickets[1]).is_pending());
}

#[tokio::test]
async fn waiters_on_other_threads_are_woken() {
    let queue = Arc::<Queue>::default();
    let patience = Patience { wait: Duration::from_secs(20), longest: Duration::from_secs(20) };
    let mut ticket = queue.join(10, patience).unwrap();
    let waker = Arc::clone(&queue);
    let other = std::thread::spawn(move || waker.tell_one());
    assert_eq!(ticket.turn().await, Ok(()));
    other.join().unwrap();
}
