//! Durable Objects through the real runtime, where their behaviour is Portside's own to prove; that it is workerd's is compared
//! in `parity`.

pub mod alarms;
pub mod calls;
pub mod hibernation;
pub mod isolation;
pub mod large;

use portside_core::migrations::{ObjectClass, ObjectStorage, Origin};
use portside_core::variable::Value;

use crate::app::Setup;

/// An application with classes of this module, each bound by the name beside it.
pub fn with_objects(module: &str, classes: &[(&str, &str)]) -> Setup {
    let mut setup = Setup::new(&[("server.js", module)]);
    for (place, (binding, name)) in classes.iter().enumerate() {
        setup
            .env
            .push(((*binding).to_owned(), Value::Objects(place)));
        setup.objects.push(ObjectClass {
            name: (*name).to_owned(),
            origin: Origin {
                tag: "v1".to_owned(),
                name: (*name).to_owned(),
            },
            storage: ObjectStorage::Sqlite,
        });
    }
    setup
}
