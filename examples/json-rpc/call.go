package main
import ("encoding/json"; "fmt"; "log"; "net"; "os")
func main() {
	broker, err := net.Dial("unix", os.Getenv("IPCD_SOCKET"))
	if err != nil { log.Fatal(err) }
	json.NewEncoder(broker).Encode(map[string]any{"jsonrpc": "2.0", "id": 1, "method": os.Args[1], "params": json.RawMessage(os.Args[2])})
	var answer struct { Result, Error json.RawMessage }
	if err := json.NewDecoder(broker).Decode(&answer); err != nil || answer.Error != nil { log.Fatalf("%v %s", err, answer.Error) }
	fmt.Println(string(answer.Result))
}
