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
    ticket.poll_woken(&mut Context::from_waker(&waker))
}

const WAIT: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn first_come_first_served_until_the_oldest_is_late_then_the_newest() {
    let queue = Arc::<Queue>::default();
    let mut tickets: Vec<Ticket> = (0..4).map(|_| queue.join(10, WAIT).unwrap()).collect();
    queue.wake_one();
    assert!(poll(&mut tickets[0]).is_ready() && poll(&mut tickets[1]).is_pending());
    tickets.remove(0).leave();
    tokio::time::advance(WAIT * 6 / 10).await;
    queue.wake_one();
    assert!(poll(&mut tickets[0]).is_pending() && poll(&mut tickets[2]).is_ready());
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_in_number_and_in_time() {
    let queue = Arc::<Queue>::default();
    let mut first = queue.join(1, WAIT).unwrap();
    assert_eq!(queue.join(1, WAIT).unwrap_err(), Overloaded::QueueFull);
    assert_eq!(first.woken().await, Err(Overloaded::WaitedTooLong));
    drop(first);
    assert!(queue.is_empty() && queue.join(1, WAIT).is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_without_a_place_passes_on_what_it_was_told() {
    let queue = Arc::<Queue>::default();
    let mut tickets: Vec<Ticket> = (0..3).map(|_| queue.join(10, WAIT).unwrap()).collect();
    queue.wake_one();
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
async fn who_was_told_and_finds_nothing_waits_again() {
    let queue = Arc::<Queue>::default();
    let mut ticket = queue.join(10, WAIT).unwrap();
    queue.wake_one();
    assert!(poll(&mut ticket).is_ready());
    assert!(poll(&mut ticket).is_pending());
    queue.wake_all();
    assert!(poll(&mut ticket).is_ready());
}

#[tokio::test]
async fn waiters_on_other_threads_are_woken() {
    let queue = Arc::<Queue>::default();
    let mut ticket = queue.join(10, Duration::from_secs(20)).unwrap();
    let waker = Arc::clone(&queue);
    let other = std::thread::spawn(move || waker.wake_one());
    assert_eq!(ticket.woken().await, Ok(()));
    other.join().unwrap();
}
