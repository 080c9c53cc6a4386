// Command objectstore serves a folder by the S3 API on one address. It is versitygw's gateway: objects are files below
// FOLDER/buckets, what S3 knows of them is kept below FOLDER/about, and the one user is who the environment names.
//
//	ROOT_ACCESS_KEY=NAME ROOT_SECRET_KEY=SECRET objectstore ADDRESS:PORT FOLDER
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: objectstore ADDRESS:PORT FOLDER")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "objectstore:", err)
		os.Exit(1)
	}
}

func serve(address, folder string) error {
	stopped, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	buckets, about := filepath.Join(folder, "buckets"), filepath.Join(folder, "about")
	for _, path := range []string{buckets, about} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	// Beside the files and not in their extended attributes, which not every file system has.
	sidecar, err := meta.NewSideCar(about)
	if err != nil {
		return err
	}
	store, err := posix.New(buckets, sidecar, posix.PosixOpts{SideCarDir: about})
	if err != nil {
		return err
	}
	return embedgw.RunVersityGW(stopped, store, &embedgw.Config{
		RootUserAccess:    os.Getenv("ROOT_ACCESS_KEY"),
		RootUserSecret:    os.Getenv("ROOT_SECRET_KEY"),
		Ports:             []string{address},
		DisableACLs:       true,
		KeepAlive:         true,
		Quiet:             true,
		MaxConnections:    256,
		MaxRequests:       256,
		MultipartMaxParts: 10000,
	})
}
