//! Memory that is kept from step to step: fresh pages from the system cost more than many an operation on them.

use std::sync::{Mutex, PoisonError};

/// Buffers that are free.
#[derive(Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<f32>>>);

impl Buffers {
    /// A buffer of `length` values of no meaning, to be overwritten.
    pub(crate) fn take(&self, length: usize) -> Vec<f32> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |buffer: &&Vec<f32>| buffer.capacity() >= length && buffer.capacity() <= 2 * length;
        let best =
            free.iter().enumerate().filter(|(_, buffer)| fits(buffer)).min_by_key(|(_, buffer)| buffer.capacity());
        let mut buffer = match best.map(|(at, _)| at) {
            Some(at) => free.swap_remove(at),
            None => {
                // One leaves for one that comes, so that there are never more than were once in use together.
                if !free.is_empty() {
                    free.remove(0);
                }
                Vec::with_capacity(length)
            }
        };
        drop(free);
        buffer.resize(length, 0.0);
        buffer
    }

    /// Takes a buffer back.
    pub(crate) fn give(&self, buffer: Vec<f32>) {
        if buffer.capacity() > 0 {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_unless_it_is_far_too_large_and_then_leaves() {
        let buffers = Buffers::default();
        let mut first = buffers.take(100);
        first[0] = 7.0;
        let place = first.as_ptr();
        buffers.give(first);
        let again = buffers.take(60);
        assert_eq!((again.as_ptr(), again.len()), (place, 60));
        buffers.give(again);
        assert_eq!(buffers.take(10).capacity(), 10);
        assert!(buffers.0.lock().unwrap().is_empty());
    }
}
