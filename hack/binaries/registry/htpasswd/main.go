// Command htpasswd prints the line of an htpasswd file for the user its argument names, with the password that it reads
// from standard input: registries take no hash but bcrypt's, which Python does not have. The passwords are random and long,
// so that the least cost is enough, and requests are quick.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "htpasswd:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 1 || arguments[0] == "" || strings.ContainsAny(arguments[0], ":\n") {
		return errors.New("usage: htpasswd USER <password: USER has no colon")
	}
	password, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	hash, err := bcrypt.GenerateFromPassword(password, bcrypt.MinCost)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%s:%s\n", arguments[0], hash)
	return err
}
