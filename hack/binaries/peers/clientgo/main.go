// Command clientgo plays client-go's part beside our machinery. `informer`, `queue` and `election` take scenarios on
// standard input and print what came of them, for the oracle in test/oracle; `follow` and `queuespeed` are measured by
// `hack/bench machinery`. The feature gate WatchListClient is set by the environment (KUBE_FEATURE_WatchListClient).
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"k8s.io/klog/v2"
)

var commands = map[string]func(arguments []string) error{
	"informer":   runInformers,
	"queue":      runQueues,
	"election":   runElections,
	"follow":     follow,
	"queuespeed": queueSpeed,
}

func main() {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: clientgo informer|queue|election|follow|queuespeed [ARGUMENTS...]")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "clientgo:", err)
		os.Exit(1)
	}
}

// read decodes what stands on standard input.
func read(into any) error {
	return json.NewDecoder(os.Stdin).Decode(into)
}

// say prints one value as one line of JSON.
func say(value any) error {
	return json.NewEncoder(os.Stdout).Encode(value)
}
