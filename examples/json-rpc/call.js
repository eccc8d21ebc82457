const broker = require("net").connect(process.env.IPCD_SOCKET);
const [method, params] = process.argv.slice(2);
broker.write(JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: JSON.parse(params) }));
require("readline").createInterface(broker).once("line", (line) => {
  const { result, error } = JSON.parse(line);
  console.log(error ? error.message : JSON.stringify(result));
  process.exit(error ? 1 : 0);
});
