"""What a miss starts at the talker's controller: an entry of the log, a program, a webhook.

declared  the words of it, as a topology file has them     turns     what is due for one handler, and when
facts     what a handler is told                           signing   how a webhook's receiver knows us
programs  runs a program, bounded; native: its start       webhooks  delivers to a webhook, bounded
acts      what each kind does when it starts               threads   all handlers of a controller at work
"""
