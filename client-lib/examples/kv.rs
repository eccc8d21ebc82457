//! A key-value store: `kv serve &`, `kv put color blue`, `kv get color`, `kv list`; `ipcctl send kv.get key=color`.
use std::{collections::BTreeMap, env::args, error::Error, sync::Mutex};

#[ipc_client::service(name = "kv")]
trait Store {
    /// The value of a key.
    fn get(&self, key: &str) -> Result<String, NoKey>;
    /// Keeps a value, and gives the one before.
    fn put(&self, key: &str, value: &str) -> Option<String>;
    /// All keys, sorted.
    fn list(&self) -> Vec<String>;
}

#[derive(Debug, serde::Serialize, serde::Deserialize, ipc_client::AppError)]
#[code = 2]
#[text = "there is no key {0:?}"]
struct NoKey(String);

impl Store for Mutex<BTreeMap<String, String>> {
    fn get(&self, key: &str) -> Result<String, NoKey> {
        self.lock().unwrap().get(key).cloned().ok_or_else(|| NoKey(key.into()))
    }
    fn put(&self, key: &str, value: &str) -> Option<String> {
        self.lock().unwrap().insert(key.into(), value.into())
    }
    fn list(&self) -> Vec<String> {
        self.lock().unwrap().keys().cloned().collect()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    match args().skip(1).collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => Mutex::<BTreeMap<_, _>>::default().into_service().run()?,
        ["put", key, value] => drop(StoreClient::connect()?.put(key, value)?),
        ["get", key] => println!("{}", StoreClient::connect()?.get(key)?),
        ["list"] => StoreClient::connect()?.list()?.iter().for_each(|key| println!("{key}")),
        _ => return Err("kv serve | put KEY VALUE | get KEY | list".into()),
    }
    Ok(())
}
