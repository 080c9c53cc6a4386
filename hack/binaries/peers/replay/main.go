// Command replay serves prepared pods as fast as a client takes them: lists, WatchList streams, watches, and storms of
// changes at a given rate. It keeps one state for everybody and prints its URL; what clients asked for is at /stats.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
)

func main() {
	count := flag.Int("pods", 10_000, "how many pods to serve")
	flag.Parse()
	if err := serve(*count); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

func serve(count int) error {
	pods, err := preparePods(count)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("{\"url\": \"http://%s\", \"pod_bytes\": %d}\n", listener.Addr(), pods.meanBytes())
	return http.Serve(listener, newServer(pods))
}
