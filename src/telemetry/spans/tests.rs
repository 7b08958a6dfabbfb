//! What a span says, how many of them wait, and what becomes of them, with a real receiver on the loopback interface.

mod conversion;
mod delivery;
mod receiver;
