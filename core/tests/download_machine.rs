//! The download machine against scripted sources: speed, trust and manners, each in one small scene.

#[path = "download_machine/manners.rs"]
mod manners;
#[path = "download_machine/rig.rs"]
mod rig;
#[path = "download_machine/speed.rs"]
mod speed;
#[path = "download_machine/trust.rs"]
mod trust;
