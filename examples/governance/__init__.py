"""A flow orchestrator: motions on their way through seven branches of a government.

    the text of a motion
      ── session: lets so many in, the King introduces them
      ── INTRODUCED, DELIBERATING   Conclave
      ── RATIFIED, PLANNING         President
      ── EXECUTING                  Duke, or Earl in his place
      ── JUDGING                    Prince
      ── WITNESSING                 Knight, who also witnesses each transition
      ── ACKNOWLEDGED               Conclave

``governance.yaml`` is the machine that movant runs; ``config/`` says how long things may take.
``session.py`` lets so many motions in at once and keeps the others waiting, in order.
``orchestrator.py`` is what other programs use. ``branches/`` are the services, each a process of
its own; ``motions/`` are the texts. ``demo.py`` plays all of it: ``make governance``.
"""
