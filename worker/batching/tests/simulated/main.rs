//! A device under simulated traffic: seconds of requests in virtual time, from seeds that are fixed.
//!
//! Only through the crate's public face, as the worker uses it. What single rules do is tested beside them; here is what
//! they do together: how much is answered in time, how soon a refusal comes, who gets how much, and that the same
//! history comes out each time.

#[cfg(test)]
mod fairness;
#[cfg(test)]
mod goodput;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod order;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod traffic;
