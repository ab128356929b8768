"""Events + backgrounds -> mixtures with strong labels: the protocol of "Two-step attention pooling with an auxiliary
auto-encoder" (2APAE), Section IV-A, whose exact procedure is that of Kong et al.'s public code for weakly labelled detection.

Three events, two seconds each at most, sound one after the other in every ten-second background. Under a folder:

    mixing.json                  what is being mixed, and what every source file was found to be
    snr20/audio/fold1-0000.flac  a mixture: mono, 32 kHz, 16 bits
    snr20/stems/...              with --stems: its events and its background, each in a channel of its own
    snr20/events.csv             filename,onset,offset,label,source: the strong labels, in seconds
    snr20/mix.json               where it comes from
    snr20/mixtures.csv           filename,fold,snr_db,labels,background; it is written last and makes this a data set

and the same for every other SNR: the same events in the same backgrounds. Everything is decided by the names and labels of the
sources and the seed, so an interrupted mixing continues, and a second one is the same to the byte.
"""
