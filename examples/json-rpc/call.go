package main

import ("bufio"; "encoding/json"; "fmt"; "net"; "os")
func main() {
	broker, _ := net.Dial("unix", os.Getenv("IPCD_SOCKET"))
	call := map[string]any{"jsonrpc": "2.0", "id": 1, "method": os.Args[1], "params": json.RawMessage(os.Args[2])}
	json.NewEncoder(broker).Encode(call)
	answer, _ := bufio.NewReader(broker).ReadString('\n')
	fmt.Print(answer)
}
