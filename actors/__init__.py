"""What Headrace's actors say and decide: the protocol, and one state machine a file.

Nothing here touches a thread, a clock, a random number, a file or a socket: an actor is told a message and tells
others, through the `Context` that its host gives it. Two hosts run the same code: threads and the simulation.
"""
