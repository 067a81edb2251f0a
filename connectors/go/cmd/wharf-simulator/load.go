package main

import "errors"

func runLoad([]string) error { return errors.New("load") }
