#!/bin/sh
# Makes the sample voice of the demo page: sample-1.ogg … sample-3.ogg, for those without a microphone.
# Needs espeak-ng, sox and ffmpeg. Run it in this directory; what it makes is committed.
set -eu

say() { # say FILE TEXT
  # 24 kHz mono Opus at 24 kb/s: a phrase is under 10 KB. bitexact: a second run makes the same bytes.
  espeak-ng -v en-gb-x-rp+f4 -s 150 -g 2 --stdout "$2" |
    sox -V1 -t wav - -t wav -r 24000 -D - silence 1 0.01 0.1% reverse silence 1 0.01 0.1% reverse gain -n -3 |
    ffmpeg -v error -y -f wav -i - -ac 1 -c:a libopus -b:a 24k -application voip \
      -map_metadata -1 -fflags +bitexact -flags +bitexact "$1"
}

say sample-1.ogg "Hello! Can you hear me?"
say sample-2.ogg "What is the quickest way to the harbour?"
say sample-3.ogg "Tell me a short story about a lighthouse."
