"""A whole fleet in one thread: the real worker runtime over a simulated broker, on virtual time.

    seed -> plan -> run -> trace, verdict

`world` runs one seed. Around it: `machine` (a process that can be stopped or killed between any two
steps), `network` (requests and replies that get lost, late or doubled), `server` (a broker whose last
writes a crash forgets), `broker` (the client that workers hold), `chaos` (what goes wrong, and when),
`laws` (what must hold all the same). `python -m treadle.testing.sim --seeds 0:5000` runs a campaign.
"""
