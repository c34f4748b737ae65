//! Items made by threads of their own, ahead of whoever takes them.

use std::{
    io,
    ops::{Add, Range, Sub},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// How often steps had to wait for their batches, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waits {
    /// Batches taken, without the first, before which none can be ready.
    pub batches: u64,
    /// Those among them that were not there when they were asked for.
    pub waits: u64,
    /// Seconds until these were there.
    pub seconds: f64,
}

impl Add for Waits {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            batches: self.batches + other.batches,
            waits: self.waits + other.waits,
            seconds: self.seconds + other.seconds,
        }
    }
}

impl Sub for Waits {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            batches: self.batches - earlier.batches,
            waits: self.waits - earlier.waits,
            seconds: self.seconds - earlier.seconds,
        }
    }
}

/// [`Waits`] as they are counted.
#[derive(Debug, Default)]
pub(crate) struct WaitCounter(Mutex<Waits>);

impl WaitCounter {
    /// The waits so far.
    pub(crate) fn so_far(&self) -> Waits {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, add: impl FnOnce(&mut Waits)) {
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What is obtained by waiting, which is counted before it begins; `is_first` if nothing can be ready.
    pub(crate) fn during<T>(&self, is_first: bool, wait: impl FnOnce() -> T) -> T {
        if is_first {
            return wait();
        }
        self.count(|waits| waits.waits += 1);
        let began = Instant::now();
        let waited_for = wait();
        self.count(|waits| waits.seconds += began.elapsed().as_secs_f64());
        waited_for
    }

    /// Counts a batch that is taken.
    pub(crate) fn taken(&self, is_first: bool) {
        self.count(|waits| waits.batches += u64::from(!is_first));
    }
}

/// Items that each thread keeps ready.
const READY: usize = 2;

/// The sequence `make(a), make(a + 1), …`, in order. Of n threads each makes every n-th item, some time before it is taken.
pub(crate) struct Prefetch<T> {
    /// What each thread made.
    lanes: Vec<Receiver<thread::Result<T>>>,
    threads: Vec<JoinHandle<()>>,
    first: u64,
    left: Range<u64>,
    waits: Arc<WaitCounter>,
}

impl<T: Send + 'static> Prefetch<T> {
    /// Begins to make the items with these numbers, on at least one thread.
    ///
    /// # Errors
    /// The system's, if it starts no thread.
    pub(crate) fn start(
        numbers: Range<u64>,
        threads: usize,
        waits: Arc<WaitCounter>,
        make: impl Fn(u64) -> T + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (make, first) = (Arc::new(make), numbers.start);
        let mut ahead = Self { lanes: Vec::new(), threads: Vec::new(), first, left: numbers.clone(), waits };
        let threads = threads.max(1);
        for from in numbers.clone().take(threads) {
            let (sender, receiver) = sync_channel(READY);
            let (make, mine) = (Arc::clone(&make), (from..numbers.end).step_by(threads));
            let work = move || {
                for number in mine {
                    let made = catch_unwind(AssertUnwindSafe(|| make(number)));
                    let failed = made.is_err();
                    if sender.send(made).is_err() || failed {
                        return;
                    }
                }
            };
            // Where one does not start, those that have end with `ahead`.
            ahead.threads.push(thread::Builder::new().name("batches".to_owned()).spawn(work)?);
            ahead.lanes.push(receiver);
        }
        Ok(ahead)
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = T;

    /// The next item; panics as its maker did, if that panicked.
    fn next(&mut self) -> Option<T> {
        let number = self.left.next()?;
        let is_first = number == self.first;
        let lane = &self.lanes[((number - self.first) % self.lanes.len() as u64) as usize];
        let made = match lane.try_recv() {
            Ok(made) => Some(made),
            Err(TryRecvError::Empty) => self.waits.during(is_first, || wait_for(lane)),
            // It panicked before.
            Err(TryRecvError::Disconnected) => None,
        };
        self.waits.taken(is_first);
        Some(made?.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

/// What comes next in a lane. Meanwhile this thread does what is left to do in the thread pool, of which it may be the only one, and
/// which the maker may need.
fn wait_for<T>(lane: &Receiver<T>) -> Option<T> {
    loop {
        let pause = match rayon::yield_now() {
            Some(rayon::Yield::Executed) => Duration::ZERO,
            Some(rayon::Yield::Idle) | None => Duration::from_millis(1),
        };
        match lane.recv_timeout(pause) {
            Ok(item) => return Some(item),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

impl<T> Drop for Prefetch<T> {
    /// Ends the threads, once each has made the item that it is at.
    fn drop(&mut self) {
        self.lanes.clear();
        for thread in self.threads.drain(..) {
            // As in `wait_for`: the maker may need this very thread.
            while !thread.is_finished() {
                if rayon::yield_now() != Some(rayon::Yield::Executed) {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            // What a maker panicked with was sent to whoever takes the items.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn items_come_in_order_whatever_the_number_of_threads_and_the_start() {
        for threads in [1, 2, 3, 7] {
            for numbers in [0..0, 0..1, 5..6, 0..20, 3..22] {
                // Later numbers are made sooner.
                let make = |number: u64| {
                    thread::sleep(Duration::from_micros(200 / (number + 1)));
                    number * number
                };
                let taken: Vec<u64> =
                    Prefetch::start(numbers.clone(), threads, Arc::default(), make).unwrap().collect();
                assert_eq!(
                    taken,
                    numbers.clone().map(|number| number * number).collect::<Vec<_>>(),
                    "{threads}, {numbers:?}"
                );
            }
        }
    }

    #[test]
    fn the_threads_stop_where_they_are_ahead_enough() {
        let (made, waits) = (Arc::new(AtomicU64::new(0)), Arc::default());
        let counted = Arc::clone(&made);
        let make = move |number| {
            counted.fetch_add(1, Ordering::SeqCst);
            number
        };
        let mut ahead = Prefetch::start(0..1000, 2, waits, make).unwrap();
        assert_eq!(ahead.next(), Some(0));
        // What is ready, and what each thread holds in its hand; less than all.
        thread::sleep(Duration::from_millis(20));
        assert!(made.load(Ordering::SeqCst) <= 1 + 2 * (READY as u64 + 1));
        drop(ahead);
    }

    #[test]
    fn a_wait_is_counted_where_an_item_is_late_and_nowhere_else() {
        let waits = Arc::<WaitCounter>::default();
        let (counted, made) = (Arc::clone(&waits), Arc::new(AtomicU64::new(0)));
        let making = Arc::clone(&made);
        // Item 2 is made once someone waits for it.
        let make = move |number| {
            while number == 2 && counted.so_far().waits == 0 {
                thread::yield_now();
            }
            making.fetch_add(1, Ordering::SeqCst);
            number
        };
        let mut ahead = Prefetch::start(0..6, 1, Arc::clone(&waits), make).unwrap();
        let until = |count| {
            while made.load(Ordering::SeqCst) < count {
                thread::yield_now();
            }
            // Made, and a moment later sent.
            thread::sleep(Duration::from_millis(5));
        };
        until(2);
        assert_eq!((ahead.next(), ahead.next()), (Some(0), Some(1)));
        assert_eq!(waits.so_far(), Waits { batches: 1, waits: 0, seconds: 0.0 });
        assert_eq!(ahead.next(), Some(2));
        let Waits { batches, waits: late, seconds } = waits.so_far();
        assert!(batches == 2 && late == 1 && seconds > 0.0, "{batches} {late} {seconds}");
        until(5);
        assert_eq!(ahead.by_ref().take(2).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(waits.so_far().waits, 1);
    }

    #[test]
    fn a_panic_reaches_whoever_takes_the_item_and_nothing_hangs() {
        let make = |number| {
            assert!(number != 3, "no item three");
            number
        };
        let mut ahead = Prefetch::start(0..100, 2, Arc::default(), make).unwrap();
        assert_eq!(ahead.by_ref().take(3).collect::<Vec<_>>(), [0, 1, 2]);
        let panic = catch_unwind(AssertUnwindSafe(|| ahead.next())).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"no item three"));
        assert_eq!(ahead.by_ref().take(3).count(), 1, "four is there, five came after three");
        drop(ahead);
    }

    #[test]
    fn makers_may_use_the_pool_of_one_thread_that_waits_for_them() {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap());
        let inside = Arc::clone(&pool);
        let taken: Vec<u64> = pool.install(move || {
            let make = move |number| inside.install(|| number + 1);
            Prefetch::start(0..5, 2, Arc::default(), make).unwrap().collect()
        });
        assert_eq!(taken, [1, 2, 3, 4, 5]);
    }
}
