"""Theory of binary associative memories: exact finite-size and large-L results.

hopfield : the Hebbian memory, in equilibrium and over one or two steps
gardner : the largest margin of a perceptron
pseudolikelihood : the pseudo-likelihood memory between Hebb's rule and the largest margin
stability : the distribution of stabilities of any memory, and the first step that follows from it
random_features : storage, learning and generalization of patterns made of features
dense : capacities of dense associative memories
channel : P random sequences as a code on a noisy channel

Where arguments broadcast, the result is a float64 array, a numpy scalar if all of them are numbers.
"""

from amtheory.theory import channel, dense, gardner, hopfield, pseudolikelihood, random_features, stability

__all__ = ["channel", "dense", "gardner", "hopfield", "pseudolikelihood", "random_features", "stability"]
