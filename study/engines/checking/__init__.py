"""Before the first trial: do the engines compute what the model itself computes?

Everything that makes a study fast (the output head at chosen tokens, packed layers, PEFT's wrapped
ones) stands in for a part of the model's own `forward`.  On a few real rows, in the precision of
the run,

1. the task's loss must be that of the model's whole forward, and stay so under fresh adapters,
   PEFT's and packed ones;
2. with random weights in every adapter, packed losses and gradients must be PEFT's;
3. a token's loss must not depend on the tokens after it, and PEFT must load what it saves: another
   model is refused;
4. a row's loss and what is generated for it must not depend on the rows beside it: another model
   trains one trial at a time.

A result is accepted if rounding explains the difference.  ROUNDING is what two orders of the same
sums may differ by.  A model may amplify rounding, which is measured: every linear layer's output is
moved by one unit of its precision.  Ten times the change is accepted, but never more than MOST.
"""
