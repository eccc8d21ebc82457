//! A collector of numbers: `metrics collect &` adds up what programs publish, `metrics count requests 3` publishes, `metrics totals`
//! prints. A shell does the same with `ipcctl publish metrics.counted name=requests by:=3` and `ipcctl send metrics.totals`.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    env::args,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use ipc_client::{Client, Notice};

/// Sums of what was counted.
#[ipc_client::service(name = "metrics")]
trait Metrics {
    /// The sums, by name.
    #[quick]
    fn totals(&self) -> BTreeMap<String, u64>;
    /// Something happened `by` times.
    #[event]
    fn counted(name: &str, by: u64);
}

#[derive(Clone, Default)]
struct Sums(Arc<Mutex<BTreeMap<String, u64>>>);

impl Metrics for Sums {
    fn totals(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect()?;
    match args().skip(1).collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["collect"] => collect(&client)?,
        ["count", name, by] => drop(MetricsCounted { name: name.into(), by: by.parse()? }.publish(&client)?),
        ["totals"] => MetricsClient::new(&client).totals()?.iter().for_each(|(name, sum)| println!("{name} {sum}")),
        _ => return Err("metrics collect | count NAME BY | totals".into()),
    }
    Ok(())
}

fn collect(client: &Client) -> Result<(), Box<dyn Error>> {
    let (sums, events) = (Sums::default(), client.subscribe("metrics.counted")?); // before the service can be asked
    let _serving = sums.clone().into_service().start()?;
    for notice in events {
        match notice? {
            Notice::Event(event) => {
                let MetricsCounted { name, by } = event.decode()?;
                *sums.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += by;
            }
            Notice::Gap(lost) => eprintln!("{lost} events are lost: the sums are too low"),
            _ => {}
        }
    }
    Ok(())
}
