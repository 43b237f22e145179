//! What tests share: running the product as a user would, and the world around it.

mod cgroup;
mod demo;
pub mod fuzz;
mod host;
mod issuer;
mod product;
mod server;

pub use cgroup::cgroup_id;
pub use demo::DemoServer;
pub use host::Host;
pub use issuer::Issuer;
pub use product::{Outcome, Scene, binary, environment};
pub use server::{Authority, PORT, Server};
