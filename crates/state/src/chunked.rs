//! A vector that grows by chunks, so that pushing never moves what is there.

/// How many elements a chunk holds.
const CHUNK: usize = 1024;

/// Elements in the order in which they were pushed.
#[derive(Debug)]
pub(crate) struct Chunked<T> {
    /// All but the last are full, none is empty.
    chunks: Vec<Vec<T>>,
}

impl<T> Chunked<T> {
    pub(crate) const fn new() -> Self {
        Chunked { chunks: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        match self.chunks.split_last() {
            Some((last, full)) => full.len() * CHUNK + last.len(),
            None => 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> &T {
        &self.chunks[index / CHUNK][index % CHUNK]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: usize) -> &mut T {
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }

    pub(crate) fn push(&mut self, element: T) {
        match self.chunks.last_mut() {
            // The first chunk starts small: most key groups change little.
            Some(last) if last.len() < CHUNK => last.push(element),
            Some(_full) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(element);
                self.chunks.push(chunk);
            }
            None => self.chunks.push(vec![element]),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let last = self.chunks.last_mut()?;
        let element = last.pop();
        if last.is_empty() {
            self.chunks.pop();
        }
        element
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// The memory of the chunks, in bytes; not what elements own elsewhere.
    pub(crate) fn allocated_bytes(&self) -> usize {
        let chunks = self.chunks.iter().map(Vec::capacity).sum::<usize>() * size_of::<T>();
        chunks + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_stay_where_they_are_and_leave_from_the_end() {
        let mut chunked = Chunked::new();
        assert_eq!((chunked.len(), chunked.pop()), (0, None));
        for number in 0..5_000 {
            chunked.push(number);
            assert_eq!(chunked.len(), number + 1);
        }
        *chunked.get_mut(1_024) += 1;
        assert_eq!((*chunked.get(1_023), *chunked.get(1_024)), (1_023, 1_025));
        assert_eq!(chunked.iter().count(), 5_000);
        for number in (0..5_000).rev() {
            let expected = number + usize::from(number == 1_024);
            assert_eq!(chunked.pop(), Some(expected));
            assert_eq!(chunked.len(), number);
        }
        assert!(chunked.is_empty());
    }
}
