// Reads request bodies as LLM servers in Go do. Each line of its input is a body and, of each field below, the value that is
// expected, in hexadecimal, or "-" for none. Prints what it makes of each line.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type request struct {
	Model        json.RawMessage `json:"model"`
	Metadata     json.RawMessage `json:"nim-llm-router"`
	Messages     json.RawMessage `json:"messages"`
	System       json.RawMessage `json:"system"`
	Prompt       json.RawMessage `json:"prompt"`
	Input        json.RawMessage `json:"input"`
	Instructions json.RawMessage `json:"instructions"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		fmt.Println(read(strings.Fields(lines.Text())))
	}
}

func read(line []string) string {
	body, _ := hex.DecodeString(line[0])
	var found request
	if json.Unmarshal(body, &found) != nil {
		return "refuses"
	}
	fields := []json.RawMessage{
		found.Model, found.Metadata, found.Messages, found.System, found.Prompt, found.Input, found.Instructions,
	}
	for place, value := range fields {
		expected, _ := hex.DecodeString(strings.TrimPrefix(line[place+1], "-"))
		if !bytes.Equal(expected, value) {
			return fmt.Sprintf("reads %q, not %q, in %q", value, expected, body)
		}
	}
	return "same"
}
