//! Years go by; and what happens to the Secrets meanwhile.

mod keeping;
mod years;
