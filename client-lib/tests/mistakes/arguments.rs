#[ipc_client::service(name = "calc")]
trait Calc {
    fn taken_apart(&self, (a, b): (u8, u8));
    fn without_a_name(&self, _: u8);
    fn changed(&self, text: &mut String);
    fn of_a_lifetime(&self, text: &'static str);
    fn borrowed_deeply(&self, texts: Vec<&str>);
    fn of_any_type(&self, items: impl Iterator<Item = u8>);
}

fn main() {}
